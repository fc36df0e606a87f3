use crossterm::event::KeyCode;
use ratatui::layout::Size;

use super::{Effect, Msg, update};
use crate::key::Key;
use crate::model::{JobControl, Mode, Model, Reading};
use crate::palette::Palette;
use crate::row::{Row, RowState, Severity};
use crate::visible::Visible;

const ESC: Key = Key::plain(KeyCode::Esc);
const ENTER: Key = Key::plain(KeyCode::Enter);
const DRAW: [Effect; 1] = [Effect::Draw];

fn rows(names: &[&str]) -> Vec<Row> {
    let row = |name: &&str| Row {
        name: (*name).to_owned(),
        state: RowState { word: "present".to_owned(), severity: Severity::Good },
        detail: vec![],
    };
    names.iter().map(row).collect()
}

/// Ten rows fit.
fn model(names: &[&str]) -> Model {
    let mut model = Model::new("vault", Palette::Monochrome, Size::new(40, 12), JobControl::Shell);
    update(&mut model, Msg::Loaded(Ok(rows(names))));
    model
}

fn press(model: &mut Model, key: Key) -> Vec<Effect> {
    update(model, Msg::Key(key))
}

fn type_text(model: &mut Model, text: &str) {
    for c in text.chars() {
        press(model, Key::char(c));
    }
}

fn selected(model: &Model) -> &str {
    model.selected_entry().map_or("", |entry| entry.name.as_str())
}

#[test]
fn moving_stays_in_the_list_and_scrolls_with_the_selection() {
    let names: Vec<String> = (0..35).map(|number| format!("S{number:02}")).collect();
    let mut model = model(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (key, name, offset) in [
        (Key::char('k'), "S00", 0),
        (Key::char('j'), "S01", 0),
        (Key::plain(KeyCode::Down), "S02", 0),
        (Key::plain(KeyCode::Up), "S01", 0),
        (Key::plain(KeyCode::PageDown), "S11", 2),
        (Key::char('G'), "S34", 25),
        (Key::char('j'), "S34", 25),
        (Key::plain(KeyCode::PageUp), "S24", 24),
        (Key::char('g'), "S00", 0),
        (Key::plain(KeyCode::End), "S34", 25),
        (Key::plain(KeyCode::Home), "S00", 0),
    ] {
        press(&mut model, key);
        assert_eq!((selected(&model), model.offset), (name, offset), "after {key}");
    }
}

#[test]
fn nothing_is_drawn_when_nothing_changed() {
    let mut model = model(&["A"]);
    for key in [Key::char('j'), Key::char('k'), Key::char('x'), Key::char('G')] {
        assert_eq!(press(&mut model, key), [], "{key}");
    }
    assert_eq!(update(&mut model, Msg::Pasted("qq".to_owned())), []);
}

#[test]
fn the_filter_narrows_as_it_is_typed_and_esc_clears_it() {
    let mut model = model(&["dev/URL", "prod/URL", "prod/jq"]);
    press(&mut model, Key::char('/'));
    type_text(&mut model, "ROD/j");
    assert_eq!((selected(&model), model.matches.len()), ("prod/jq", 1));
    press(&mut model, Key::plain(KeyCode::Backspace));
    assert_eq!(model.matches.len(), 2);
    press(&mut model, ENTER);
    assert_eq!((model.mode, model.filter.as_str()), (Mode::List, "ROD/"));
    assert_eq!(press(&mut model, ESC), DRAW);
    assert_eq!((model.matches.len(), selected(&model)), (3, "prod/jq"));

    press(&mut model, Key::char('/'));
    type_text(&mut model, "nothing");
    assert_eq!(selected(&model), "");
    press(&mut model, ESC);
    assert_eq!((model.mode, model.matches.len()), (Mode::List, 3));
}

#[test]
fn a_paste_into_the_filter_keeps_one_line_of_what_can_be_seen() {
    let mut model = model(&["prod/URL"]);
    press(&mut model, Key::char('/'));
    update(&mut model, Msg::Pasted("pr\u{1b}\u{202e}od\nq".to_owned()));
    assert_eq!((model.filter.as_str(), model.mode), ("prod", Mode::Filter));
    update(&mut model, Msg::Pasted("x".repeat(100_000)));
    assert_eq!(model.filter.len(), 200);
}

#[test]
fn every_way_out_quits_from_the_list_only() {
    for key in [Key::char('q'), ESC, Key::ctrl('c')] {
        let mut model = model(&["A"]);
        press(&mut model, Key::char('?'));
        assert_eq!(press(&mut model, key), DRAW, "{key} in the help");
        assert_eq!(press(&mut model, key), [Effect::Quit], "{key} in the list");
    }
}

#[test]
fn reload_keeps_the_selection_on_its_name_and_runs_once() {
    let mut model = model(&["A", "B", "C"]);
    press(&mut model, Key::char('G'));
    assert_eq!(press(&mut model, Key::char('r')), [Effect::Draw, Effect::Reload]);
    assert_eq!(press(&mut model, Key::char('r')), DRAW);
    assert!(model.notice.is_some(), "a second reload says why not");
    update(&mut model, Msg::Loaded(Ok(rows(&["C", "D"]))));
    assert_eq!((selected(&model), model.reading), ("C", Reading::Done));
    update(&mut model, Msg::Loaded(Ok(vec![])));
    assert_eq!((selected(&model), model.selected), ("", 0));
}

#[test]
fn a_failed_reload_keeps_the_rows_and_says_why_until_the_next_key() {
    let mut model = model(&["A"]);
    update(&mut model, Msg::Loaded(Err("gone\u{1b}[2J".to_owned())));
    assert_eq!(selected(&model), "A");
    assert_eq!(model.notice, Some(Visible::new("gone\u{1b}[2J")));
    assert_eq!(press(&mut model, Key::char('x')), DRAW);
    assert_eq!(model.notice, None);
}

#[test]
fn suspending_needs_a_shell_to_come_back_from() {
    let mut model = model(&["A"]);
    assert_eq!(press(&mut model, Key::ctrl('z')), [Effect::Suspend]);
    assert_eq!(update(&mut model, Msg::StopRequested), [Effect::Suspend]);
    model.job_control = JobControl::None;
    assert_eq!(press(&mut model, Key::ctrl('z')), DRAW);
    assert!(model.notice.is_some());
    assert_eq!(update(&mut model, Msg::StopRequested), []);
}

#[test]
fn redraw_and_resume_repaint_everything() {
    let mut model = model(&["A"]);
    assert_eq!(press(&mut model, Key::ctrl('l')), [Effect::Repaint]);
    assert_eq!(update(&mut model, Msg::Resumed(Size::new(90, 30))), [Effect::Repaint]);
    assert_eq!(model.size, Size::new(90, 30));
}
