//! Draws the model. Pure, and costs the rows on the screen, not the rows there are.

use ratatui::Frame;
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use crate::action::{ACTIONS, resolve};
use crate::layout::Layout;
use crate::model::{Entry, Mode, Model, Reading};
use crate::row::Severity;

/// Widest state word, in columns.
pub(crate) const MAX_WORD: usize = 12;
/// Columns of the keys in the help.
const HELP_KEYS: usize = 18;

const HELP_NOTE: [&str; 4] = [
    "This version only lists. Everything else is a command:",
    "vaultfs add, rotate, show, remove, rename, copy, adopt …",
    "`vaultfs help` lists them all.",
    "",
];

/// Draws the whole screen.
pub(crate) fn view(model: &Model, frame: &mut Frame) {
    let Some(layout) = Layout::new(frame.area().as_size()) else {
        frame.render_widget("too small", frame.area());
        return;
    };
    frame.render_widget(header(model), layout.header);
    if model.mode == Mode::Help {
        help(model, frame, layout.body);
    } else {
        list(model, frame, layout.list);
        if let Some(area) = layout.detail {
            detail(model, frame, area);
        }
    }
    footer(model, frame, layout.footer);
}

/// The furthest the help can be scrolled at this size.
pub(crate) fn help_last_offset(size: Size) -> usize {
    let page = Layout::new(size).map_or(0, |layout| usize::from(layout.body.height));
    (HELP_NOTE.len() + ACTIONS.len()).saturating_sub(page)
}

fn header(model: &Model) -> Line<'_> {
    let count = match (model.reading, model.matches.len(), model.entries.len()) {
        (Reading::First, ..) => "reading the vault …".to_owned(),
        (_, 1, 1) => "1 secret".to_owned(),
        (_, shown, all) if shown == all => format!("{all} secrets"),
        (_, shown, all) => format!("{shown} of {all} secrets"),
    };
    let mut line = Line::from(vec![
        Span::styled(model.title.as_str(), model.palette.strong()),
        Span::raw("  "),
        Span::raw(count),
    ]);
    if model.reading == Reading::Again {
        line.push_span(", reading again …");
    }
    if !model.filter.is_empty() && model.mode != Mode::Filter {
        line.push_span(format!("  filter: {}", model.filter));
    }
    line
}

fn list(model: &Model, frame: &mut Frame, area: Rect) {
    let empty = match (model.reading, model.entries.is_empty(), model.matches.is_empty()) {
        (Reading::First, ..) | (_, _, false) => "",
        (_, true, true) => "No secrets. `vaultfs add NAME` adds one.",
        (_, false, true) => "No name contains the filter.",
    };
    frame.render_widget(Paragraph::new(empty).wrap(Wrap { trim: true }), area);
    let shown = model.matches.iter().enumerate().skip(model.offset);
    for ((position, &index), row) in shown.zip(area.rows()) {
        let entry = &model.entries[index];
        let width = usize::from(row.width);
        let (marker, style) = if position == model.selected {
            ("> ", model.palette.selected())
        } else {
            ("  ", Style::new())
        };
        let mut line = Line::from(Span::raw(marker)).style(style);
        line.extend(state(model, entry));
        let padding = (line.width()..model.word_columns + 6).map(|_| ' ').collect::<String>();
        line.push_span(padding);
        line.push_span(entry.name.fit(width.saturating_sub(model.word_columns + 6)));
        frame.render_widget(line, row);
    }
}

/// Glyph and word in the colour of the severity.
fn state<'a>(model: &Model, entry: &'a Entry) -> [Span<'a>; 3] {
    let style = model.palette.severity(entry.severity);
    [
        Span::styled(entry.severity.glyph(), style),
        Span::raw(" "),
        Span::styled(entry.word.fit(MAX_WORD), style),
    ]
}

fn detail(model: &Model, frame: &mut Frame, area: Rect) {
    let side = if area.x == 0 { Borders::TOP } else { Borders::LEFT };
    let block = Block::new().borders(side).border_style(model.palette.faint());
    let mut lines = vec![];
    if let Some(entry) = model.selected_entry() {
        lines.push(Line::styled(entry.name.as_str(), model.palette.strong()));
        lines.push(Line::from_iter(state(model, entry)));
        lines.extend(entry.detail.iter().map(|(label, text)| {
            Line::from_iter([
                Span::styled(label.as_str(), model.palette.strong()),
                Span::raw(": "),
                Span::raw(text.as_str()),
            ])
        }));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn help(model: &Model, frame: &mut Frame, area: Rect) {
    let notes = HELP_NOTE.into_iter().map(Line::raw);
    let actions = ACTIONS.iter().map(|action| {
        let keys = action.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut line = Line::from(vec![
            Span::styled(format!("{keys:<HELP_KEYS$}"), model.palette.strong()),
            Span::raw(action.description),
        ]);
        if let Err(reason) = (action.available)(model) {
            line.push_span(Span::styled(format!(" (not now: {reason})"), model.palette.faint()));
        }
        line
    });
    let lines = notes.chain(actions).skip(model.help_offset);
    for (line, row) in lines.zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

fn footer(model: &Model, frame: &mut Frame, area: Rect) {
    let mut line = Line::default();
    if let Some(notice) = &model.notice {
        let style = model.palette.severity(Severity::Warning);
        line.push_span(Span::styled(Severity::Warning.glyph(), style));
        line.push_span(" ");
        line.push_span(notice.fit(usize::from(area.width) - 2));
        frame.render_widget(line, area);
        return;
    }
    if model.mode == Mode::Filter {
        let prompt = format!("/{}", tail(&model.filter, usize::from(area.width) - 2));
        line.push_span(prompt);
        let cursor = u16::try_from(line.width()).expect("the prompt is cut to the screen");
        frame.set_cursor_position(Position::new(area.x + cursor, area.y));
        line.push_span("   ");
    }
    for action in ACTIONS.iter().filter(|action| action.modes.contains(&model.mode)) {
        let key = action.keys.iter().find(|&&key| resolve(model.mode, key).is_some());
        let (Some(word), Some(key)) = (action.footer, key) else { continue };
        let style = match (action.available)(model) {
            Ok(()) => Style::new(),
            Err(_) => model.palette.faint(),
        };
        let hint = Span::styled(format!("{key} {word}"), style);
        if line.width() + hint.width() <= usize::from(area.width) {
            line.push_span(hint);
            line.push_span("   ");
        }
    }
    frame.render_widget(line, area);
}

/// The end of `text`, at most `columns` wide.
fn tail(text: &str, columns: usize) -> &str {
    let cut = text.char_indices().map(|(index, _)| &text[index..]);
    cut.into_iter().find(|rest| Span::raw(*rest).width() <= columns).unwrap_or_default()
}

#[cfg(test)]
mod tests;
