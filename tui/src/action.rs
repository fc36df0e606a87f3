//! The one table of actions: help, footer, key handling and their tests are read from it.

use crossterm::event::KeyCode;

use crate::key::Key;
use crate::model::{Mode, Model};

/// What an action is; `update` says what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionId {
    Filter,
    Reload,
    Help,
    Quit,
    Back,
    Down,
    Up,
    PageDown,
    PageUp,
    First,
    Last,
    KeepFilter,
    ClearFilter,
    Erase,
    CloseHelp,
    Redraw,
    Suspend,
}

/// Why an action can't be done now, as a lower-case fragment.
pub(crate) type Reason = &'static str;

/// One line of the table.
pub(crate) struct Action {
    pub(crate) id: ActionId,
    pub(crate) keys: &'static [Key],
    /// Where its keys work. Keys that type a character never do while the filter is typed.
    pub(crate) modes: &'static [Mode],
    /// One word for the footer, where the action belongs there.
    pub(crate) footer: Option<&'static str>,
    pub(crate) description: &'static str,
    pub(crate) available: fn(&Model) -> Result<(), Reason>,
}

const ALL: &[Mode] = &[Mode::List, Mode::Filter, Mode::Help];

const fn action(
    id: ActionId,
    keys: &'static [Key],
    modes: &'static [Mode],
    footer: Option<&'static str>,
    description: &'static str,
) -> Action {
    Action { id, keys, modes, footer, description, available: |_| Ok(()) }
}

/// Every action, in the order that help and footer show.
#[rustfmt::skip]
pub(crate) static ACTIONS: &[Action] = &[
    action(ActionId::Filter, &[Key::char('/')], &[Mode::List], Some("filter"),
        "list only the names that contain a text"),
    Action { available: Model::can_reload,
        ..action(ActionId::Reload, &[Key::char('r')], &[Mode::List], Some("reload"),
        "read the vault again") },
    action(ActionId::Help, &[Key::char('?')], &[Mode::List], Some("help"), "show this help"),
    action(ActionId::Quit, &[Key::char('q'), Key::ctrl('c')], &[Mode::List], Some("quit"), "quit"),
    action(ActionId::Back, &[Key::plain(KeyCode::Esc)], &[Mode::List], None,
        "clear the filter; without one, quit"),
    action(ActionId::Down, &[Key::char('j'), Key::plain(KeyCode::Down)], ALL, Some("down"),
        "down"),
    action(ActionId::Up, &[Key::char('k'), Key::plain(KeyCode::Up)], ALL, None, "up"),
    action(ActionId::PageDown, &[Key::plain(KeyCode::PageDown)], ALL, None, "a page down"),
    action(ActionId::PageUp, &[Key::plain(KeyCode::PageUp)], ALL, None, "a page up"),
    action(ActionId::First, &[Key::char('g'), Key::plain(KeyCode::Home)], ALL, None, "to the top"),
    action(ActionId::Last, &[Key::char('G'), Key::plain(KeyCode::End)], ALL, None, "to the end"),
    action(ActionId::KeepFilter, &[Key::plain(KeyCode::Enter)], &[Mode::Filter], Some("keep"),
        "keep the filter being typed"),
    action(ActionId::ClearFilter, &[Key::plain(KeyCode::Esc), Key::ctrl('c')], &[Mode::Filter],
        Some("clear"), "drop the filter being typed"),
    action(ActionId::Erase, &[Key::plain(KeyCode::Backspace), Key::ctrl('h')], &[Mode::Filter],
        None, "erase the filter's last character"),
    action(ActionId::CloseHelp,
        &[Key::plain(KeyCode::Esc), Key::char('q'), Key::char('?'), Key::ctrl('c')],
        &[Mode::Help], Some("close"), "close this help"),
    action(ActionId::Redraw, &[Key::ctrl('l')], ALL, None, "draw the screen anew"),
    Action { available: Model::can_suspend,
        ..action(ActionId::Suspend, &[Key::ctrl('z')], ALL, None,
        "stop, until the shell's `fg`") },
];

/// The action of a key in a mode.
pub(crate) fn resolve(mode: Mode, key: Key) -> Option<&'static Action> {
    if mode == Mode::Filter && key.text().is_some() {
        return None;
    }
    ACTIONS.iter().find(|action| action.modes.contains(&mode) && action.keys.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_reached_by_its_keys_and_no_two_share_one() {
        for action in ACTIONS {
            for &mode in action.modes {
                let keys: Vec<Key> = action
                    .keys
                    .iter()
                    .copied()
                    .filter(|key| mode != Mode::Filter || key.text().is_none())
                    .collect();
                assert!(!keys.is_empty(), "{:?} has no key in {mode:?}", action.id);
                for key in keys {
                    let claimed: Vec<ActionId> = ACTIONS
                        .iter()
                        .filter(|other| other.modes.contains(&mode) && other.keys.contains(&key))
                        .map(|other| other.id)
                        .collect();
                    assert_eq!(claimed, [action.id], "{key} in {mode:?}");
                    assert_eq!(resolve(mode, key).map(|found| found.id), Some(action.id));
                }
            }
        }
    }

    #[test]
    fn typing_a_filter_types_every_character() {
        for c in ' '..='~' {
            assert!(resolve(Mode::Filter, Key::char(c)).is_none(), "{c}");
        }
    }
}
