//! What each message does to the model, and what the runtime must do then. Pure.

use ratatui::layout::Size;

use crate::action::{Action, ActionId, resolve};
use crate::key::Key;
use crate::model::{Mode, Model, Reading};
use crate::row::Row;
use crate::visible::Visible;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Msg {
    Key(Key),
    Pasted(String),
    Resized(Size),
    /// The vault was read, or why not.
    Loaded(Result<Vec<Row>, String>),
    /// Another process asked for a stop (SIGTSTP).
    StopRequested,
    /// The process runs again after a stop; the screen holds something else.
    Resumed(Size),
}

/// Something for the runtime to do. Nothing is drawn unless one of these says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Draw what changed.
    Draw,
    /// Clear the screen and draw all of it.
    Repaint,
    /// Read the vault.
    Reload,
    /// Give the terminal back and stop.
    Suspend,
    Quit,
}

/// Changes the model; the effects are to be done in order.
pub(crate) fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(key) => on_key(model, key),
        Msg::Pasted(text) if model.mode == Mode::Filter => {
            model.type_filter(&text);
            vec![Effect::Draw]
        }
        // A paste outside a field is never taken for keys.
        Msg::Pasted(_) => vec![],
        Msg::Resized(size) => {
            model.resize(size);
            vec![Effect::Draw]
        }
        Msg::Loaded(loaded) => {
            model.reading = Reading::Done;
            match loaded {
                Ok(rows) => model.replace(rows),
                Err(why) => model.notice = Some(Visible::new(&why)),
            }
            vec![Effect::Draw]
        }
        Msg::StopRequested => suspend(model),
        Msg::Resumed(size) => {
            model.resize(size);
            vec![Effect::Repaint]
        }
    }
}

fn on_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let had_notice = model.notice.take().is_some();
    let mut effects = match (resolve(model.mode, key), model.mode, key.text()) {
        (Some(action), ..) => act(model, action),
        (None, Mode::Filter, Some(c)) => {
            model.type_filter(c.encode_utf8(&mut [0; 4]));
            vec![Effect::Draw]
        }
        (None, ..) => vec![],
    };
    if had_notice && effects.is_empty() {
        effects.push(Effect::Draw);
    }
    effects
}

fn act(model: &mut Model, action: &Action) -> Vec<Effect> {
    if let Err(reason) = (action.available)(model) {
        model.notice = Some(Visible::new(reason));
        return vec![Effect::Draw];
    }
    let (position, page) = (model.position(), model.page());
    match action.id {
        ActionId::Down => go(model, position + 1),
        ActionId::Up => go(model, position.saturating_sub(1)),
        ActionId::PageDown => go(model, position.saturating_add(page)),
        ActionId::PageUp => go(model, position.saturating_sub(page)),
        ActionId::First => go(model, 0),
        ActionId::Last => go(model, usize::MAX),
        ActionId::Filter => enter(model, Mode::Filter),
        ActionId::KeepFilter | ActionId::CloseHelp => enter(model, Mode::List),
        ActionId::ClearFilter => {
            model.clear_filter();
            enter(model, Mode::List)
        }
        ActionId::Erase => {
            model.erase_filter();
            vec![Effect::Draw]
        }
        ActionId::Help => {
            model.help_offset = 0;
            enter(model, Mode::Help)
        }
        ActionId::Reload => {
            model.reading = Reading::Again;
            vec![Effect::Draw, Effect::Reload]
        }
        ActionId::Redraw => vec![Effect::Repaint],
        ActionId::Suspend => suspend(model),
        ActionId::Back if !model.filter.is_empty() => {
            model.clear_filter();
            vec![Effect::Draw]
        }
        ActionId::Back | ActionId::Quit => vec![Effect::Quit],
    }
}

fn go(model: &mut Model, target: usize) -> Vec<Effect> {
    if model.move_to(target) { vec![Effect::Draw] } else { vec![] }
}

fn enter(model: &mut Model, mode: Mode) -> Vec<Effect> {
    model.mode = mode;
    vec![Effect::Draw]
}

fn suspend(model: &Model) -> Vec<Effect> {
    if model.can_suspend().is_ok() { vec![Effect::Suspend] } else { vec![] }
}

#[cfg(test)]
mod tests;
