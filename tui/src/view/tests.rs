use std::path::Path;
use std::{env, fs};

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::Color;

use super::view;
use crate::action::ACTIONS;
use crate::key::Key;
use crate::model::{JobControl, Model};
use crate::palette::Palette;
use crate::row::{Row, RowState, Severity};
use crate::update::{Msg, update};

const HOSTILE: &str = "x\u{1b}[31m\u{202e}\u{200b}\n秘密\u{301}";

fn rows() -> Vec<Row> {
    let row = |name: &str, word: &str, severity| Row {
        name: name.to_owned(),
        state: RowState { word: word.to_owned(), severity },
        detail: vec![
            ("generation".to_owned(), "3".to_owned()),
            ("description".to_owned(), format!("what {name} is for, {}", "at length ".repeat(9))),
        ],
    };
    let mut rows = vec![
        row("dev/DATABASE_URL", "present", Severity::Good),
        row("prod/DATABASE_URL", "overdue", Severity::Warning),
        row("prod/oauth2/COOKIE_SECRET", "missing", Severity::Problem),
        row(HOSTILE, "unbound\u{7}", Severity::Note),
    ];
    rows.extend((0..30).map(|number| row(&format!("web/{number:02}"), "present", Severity::Good)));
    rows
}

fn model(size: Size) -> Model {
    let mut model = Model::new("/srv/secrets", Palette::Monochrome, size, JobControl::Shell);
    update(&mut model, Msg::Loaded(Ok(rows())));
    model
}

fn press(model: &mut Model, keys: &[Key]) {
    for &key in keys {
        update(model, Msg::Key(key));
    }
}

fn draw(model: &Model) -> Buffer {
    let backend = TestBackend::new(model.size.width, model.size.height);
    let mut terminal = Terminal::new(backend).unwrap();
    terminal.draw(|frame| view(model, frame)).unwrap().buffer.clone()
}

fn text(model: &Model) -> String {
    let buffer = draw(model);
    let width = usize::from(model.size.width.max(1));
    let mut text = String::new();
    for line in buffer.content().chunks(width) {
        let mut skip = 0;
        let mut row = String::new();
        for cell in line {
            if skip == 0 {
                row.push_str(cell.symbol());
                skip = ratatui::text::Span::raw(cell.symbol()).width();
            }
            skip = skip.saturating_sub(1);
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with the file; `UPDATE_GOLDEN=1` writes it instead.
fn assert_golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/view/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, shown).unwrap();
    }
    assert_eq!(shown, fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn screens_look_as_recorded() {
    for (width, height) in [(60, 16), (80, 24), (120, 40)] {
        let mut model = model(Size::new(width, height));
        press(&mut model, &[Key::char('j'), Key::char('j'), Key::char('j')]);
        assert_golden(&format!("list-{width}x{height}.txt"), &text(&model));
        press(&mut model, &[Key::char('/'), Key::char('p'), Key::char('r')]);
        assert_golden(&format!("filter-{width}x{height}.txt"), &text(&model));
        press(&mut model, &[Key::plain(KeyCode::Enter), Key::char('?')]);
        assert_golden(&format!("help-{width}x{height}.txt"), &text(&model));
    }
}

#[test]
fn every_size_of_every_screen_draws_without_a_panic() {
    let filter = [Key::char('/'), Key::char('w'), Key::char('e')];
    let screens: [&[Key]; 4] = [&[Key::char('G')], &filter, &[Key::char('?'), Key::char('G')], &[]];
    for (index, keys) in screens.into_iter().enumerate() {
        let mut model = model(Size::new(80, 24));
        press(&mut model, keys);
        if index == 3 {
            update(&mut model, Msg::Loaded(Err(HOSTILE.repeat(9))));
        }
        for width in 1..=120 {
            for height in 1..=50 {
                update(&mut model, Msg::Resized(Size::new(width, height)));
                draw(&model);
            }
        }
    }
}

#[test]
fn no_hostile_character_reaches_a_cell() {
    for (width, height) in [(20, 5), (60, 16), (120, 40)] {
        let mut model = model(Size::new(width, height));
        press(&mut model, &[Key::char('j'); 3]);
        let shown = text(&model);
        assert!(shown.contains("> · unbound"), "{shown}");
        let hostile = |c: char| c != '\n' && crate::visible::is_hidden(c);
        assert!(!shown.contains(hostile), "{shown:?}");
    }
}

#[test]
fn monochrome_uses_no_colour_and_the_selection_still_shows() {
    let model = model(Size::new(80, 24));
    let buffer = draw(&model);
    assert!(buffer.content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
    assert_eq!(buffer[(0, 1)].symbol(), ">");
    assert_ne!(buffer[(8, 1)].modifier, buffer[(8, 2)].modifier);
}

#[test]
fn the_help_names_every_action_and_says_what_is_not_there() {
    let mut model = model(Size::new(120, 40));
    model.job_control = JobControl::None;
    press(&mut model, &[Key::char('?')]);
    let shown = text(&model);
    for action in ACTIONS {
        assert!(shown.contains(action.description), "{}", action.description);
        assert!(action.keys.iter().all(|key| shown.contains(&key.to_string())));
    }
    assert!(shown.contains("This version only lists"));
    assert!(shown.contains("not now: no shell"));
}

#[test]
fn the_help_scrolls_to_its_end_on_a_small_screen() {
    let mut model = model(Size::new(60, 8));
    press(&mut model, &[Key::char('?'), Key::char('G')]);
    assert!(text(&model).contains("Ctrl-Z"));
}

#[test]
fn an_empty_vault_says_how_to_fill_it() {
    let mut model = model(Size::new(80, 24));
    update(&mut model, Msg::Loaded(Ok(vec![])));
    assert!(text(&model).contains("`vaultfs add NAME`"));
}
