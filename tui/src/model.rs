//! Everything a screen shows, and nothing else: no terminal, no clock, no vault, no value.

use ratatui::layout::Size;

use crate::action::Reason;
use crate::layout::Layout;
use crate::palette::Palette;
use crate::row::{Row, Severity};
use crate::view::{MAX_WORD, help_last_offset};
use crate::visible::{Visible, is_hidden};

/// Longest filter, in characters.
const MAX_FILTER: usize = 200;

/// What keys mean now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    List,
    /// The filter is being typed.
    Filter,
    Help,
}

/// A row whose text may be shown.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Visible,
    pub(crate) word: Visible,
    pub(crate) severity: Severity,
    pub(crate) detail: Vec<(Visible, Visible)>,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            name: Visible::new(&row.name),
            word: Visible::new(&row.state.word),
            severity: row.state.severity,
            detail: row
                .detail
                .iter()
                .map(|(label, text)| (Visible::new(label), Visible::new(text)))
                .collect(),
        }
    }
}

/// Whether the vault is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    First,
    Again,
    Done,
}

/// Whether a shell could bring the workbench back once it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobControl {
    Shell,
    None,
}

/// The state of the workbench.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) title: Visible,
    pub(crate) palette: Palette,
    pub(crate) size: Size,
    pub(crate) job_control: JobControl,
    pub(crate) mode: Mode,
    pub(crate) reading: Reading,
    pub(crate) entries: Vec<Entry>,
    /// The widest state word, in columns.
    pub(crate) word_columns: usize,
    /// Indices of the entries that pass the filter.
    pub(crate) matches: Vec<usize>,
    pub(crate) filter: String,
    /// Index into `matches`; 0 while there are none.
    pub(crate) selected: usize,
    /// The first of `matches` on the screen.
    pub(crate) offset: usize,
    /// The first line of the help on the screen.
    pub(crate) help_offset: usize,
    /// Shown instead of the footer until the next key.
    pub(crate) notice: Option<Visible>,
}

impl Model {
    pub(crate) fn new(title: &str, palette: Palette, size: Size, job_control: JobControl) -> Self {
        Self {
            title: Visible::new(title),
            palette,
            size,
            job_control,
            mode: Mode::List,
            reading: Reading::First,
            entries: Vec::new(),
            word_columns: 0,
            matches: Vec::new(),
            filter: String::new(),
            selected: 0,
            offset: 0,
            help_offset: 0,
            notice: None,
        }
    }

    pub(crate) fn can_reload(&self) -> Result<(), Reason> {
        match self.reading {
            Reading::Done => Ok(()),
            Reading::First | Reading::Again => Err("the vault is being read already"),
        }
    }

    pub(crate) fn can_suspend(&self) -> Result<(), Reason> {
        match self.job_control {
            JobControl::Shell => Ok(()),
            JobControl::None => Err("no shell could bring the workbench back"),
        }
    }

    pub(crate) fn selected_entry(&self) -> Option<&Entry> {
        self.matches.get(self.selected).map(|&index| &self.entries[index])
    }

    /// Rows of the list on the screen, at least 1.
    pub(crate) fn page(&self) -> usize {
        Layout::new(self.size).map_or(1, |layout| usize::from(layout.list.height))
    }

    /// Takes new entries; the selection stays on its name where that is still listed.
    pub(crate) fn replace(&mut self, rows: Vec<Row>) {
        let name = self.selected_entry().map(|entry| entry.name.clone());
        self.entries = rows.into_iter().map(Entry::from).collect();
        let widest = self.entries.iter().map(|entry| entry.word.columns()).max();
        self.word_columns = widest.unwrap_or(0).min(MAX_WORD);
        self.refilter(name.as_ref());
    }

    /// Adds what can be shown of `text`, up to its first line break.
    pub(crate) fn type_filter(&mut self, text: &str) {
        let room = MAX_FILTER.saturating_sub(self.filter.chars().count());
        let line = text.split(['\r', '\n']).next().unwrap_or_default();
        self.filter.extend(line.chars().filter(|&c| !is_hidden(c)).take(room));
        self.apply_filter();
    }

    pub(crate) fn erase_filter(&mut self) {
        self.filter.pop();
        self.apply_filter();
    }

    pub(crate) fn clear_filter(&mut self) {
        self.filter.clear();
        self.apply_filter();
    }

    /// Moves the selection, or the help while it is open. Says whether anything moved.
    pub(crate) fn move_to(&mut self, target: usize) -> bool {
        let (position, last) = match self.mode {
            Mode::Help => (&mut self.help_offset, help_last_offset(self.size)),
            Mode::List | Mode::Filter => (&mut self.selected, self.matches.len().saturating_sub(1)),
        };
        let target = target.min(last);
        let moved = std::mem::replace(position, target) != target;
        self.scroll();
        moved
    }

    /// Where [`Model::move_to`] would move from.
    pub(crate) fn position(&self) -> usize {
        if self.mode == Mode::Help { self.help_offset } else { self.selected }
    }

    pub(crate) fn resize(&mut self, size: Size) {
        self.size = size;
        self.help_offset = self.help_offset.min(help_last_offset(size));
        self.scroll();
    }

    fn apply_filter(&mut self) {
        let name = self.selected_entry().map(|entry| entry.name.clone());
        self.refilter(name.as_ref());
    }

    fn refilter(&mut self, keep: Option<&Visible>) {
        let wanted = self.filter.to_lowercase();
        self.matches = (0..self.entries.len())
            .filter(|&index| {
                wanted.is_empty()
                    || self.entries[index].name.as_str().to_lowercase().contains(&wanted)
            })
            .collect();
        let kept = self.matches.iter().position(|&index| Some(&self.entries[index].name) == keep);
        self.selected = kept.unwrap_or(self.selected).min(self.matches.len().saturating_sub(1));
        self.scroll();
    }

    /// Brings the selection onto the screen with the least scrolling, and leaves no empty rows
    /// below a list that could fill them.
    fn scroll(&mut self) {
        let page = self.page();
        self.offset = self
            .offset
            .min(self.matches.len().saturating_sub(page))
            .clamp((self.selected + 1).saturating_sub(page), self.selected);
    }
}
