//! Small changes to a YAML text that leave the rest of it as it is, byte for byte. What an edit
//! can't place with certainty it gives up; what it misplaces, the comparison of the result with
//! the intention finds.

use std::ops::Range;

use saphyr_parser::ScalarStyle;

use crate::policy::PolicyError;
use crate::policy::document::{Document, Layout, Node, NodeKind, Step};

/// How much deeper a new section is indented.
const INDENT: usize = 2;

/// A text while it is edited. Each change sees the text as the previous one left it.
pub(crate) struct Editor {
    text: String,
    document: Document,
}

/// The text doesn't have the shape that a change needs.
pub(crate) struct OtherShape;

type Result = std::result::Result<(), OtherShape>;

impl Editor {
    pub(crate) fn new(text: &str) -> std::result::Result<Self, PolicyError> {
        Ok(Self { text: text.to_owned(), document: Document::parse(text)? })
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// Adds `name: content` to the top-level mapping `section`, which is made where it is missing.
    pub(crate) fn add_entry(&mut self, section: &str, name: &str, content: &str) -> Result {
        let line = format!("{}: {content}", plain(name));
        self.add(&[Step::Field(section)], &line, &format!("{{{line}}}"), &line)
    }

    /// Adds an item to a list, which is made where the last step of `path` is missing at the top
    /// level.
    pub(crate) fn add_item(&mut self, path: &[Step<'_>], item: &str) -> Result {
        self.add(path, item, &format!("[{item}]"), &format!("- {item}"))
    }

    /// Adds to a collection: `inner` between brackets, `own_line` where it is in block style,
    /// `whole` where the collection is made, too, between brackets.
    fn add(&mut self, path: &[Step<'_>], inner: &str, whole: &str, own_line: &str) -> Result {
        let newline = self.newline();
        if let Some(node) = self.document.node(path).filter(|node| !node.is_absent()) {
            let (layout, parts) = node.parts().ok_or(OtherShape)?;
            let (at, addition) = match (layout, parts.last()) {
                (Layout::Flow, None) => (node.span.start + 1, inner.to_owned()),
                (Layout::Flow, Some(last)) => (last.end, format!(", {inner}")),
                (Layout::Block, None) => return Err(OtherShape),
                (Layout::Block, Some(last)) => {
                    let start = self.own_start(node, &parts[0]).ok_or(OtherShape)?;
                    let indent = start - self.line_start(start);
                    (self.line_end(last.end), format!("{:indent$}{own_line}{newline}", ""))
                }
            };
            return self.insert(at, &addition);
        }
        let (Some(Step::Field(name)), Some(parent)) =
            (path.last(), self.document.node(&path[..path.len() - 1]))
        else {
            return Err(OtherShape);
        };
        if let Some((name, _)) = parent.entry(name) {
            let indent = name.span.start - self.line_start(name.span.start) + INDENT;
            let at = self.line_end(name.span.end);
            return self.insert(at, &format!("{:indent$}{own_line}{newline}", ""));
        }
        match parent.parts().ok_or(OtherShape)? {
            (Layout::Flow, parts) => {
                let last = parts.last().ok_or(OtherShape)?;
                self.insert(last.end, &format!(", {name}: {whole}"))
            }
            (Layout::Block, parts) => {
                let (first, last) = parts.first().zip(parts.last()).ok_or(OtherShape)?;
                let indent = first.start - self.line_start(first.start);
                let inner = indent + INDENT;
                let section =
                    format!("{:indent$}{name}:{newline}{:inner$}{own_line}{newline}", "", "");
                // Comments at the end of the file stay with what they follow.
                let mut at = self.line_end(last.end);
                if is_silent(&self.text[at..]) {
                    at = self.text.len();
                }
                self.insert(at, &section)
            }
        }
    }

    /// Removes the entry `name` from the top-level mapping `section`.
    pub(crate) fn remove_entry(&mut self, section: &str, name: &str) -> Result {
        let node = self.document.node(&[Step::Field(section)]).ok_or(OtherShape)?;
        let NodeKind::Mapping { entries, .. } = &node.kind else { return Err(OtherShape) };
        let index = entries.iter().position(|(n, _)| n.text() == Some(name));
        self.remove(&node.clone(), index.ok_or(OtherShape)?)
    }

    /// Removes an item from a list.
    pub(crate) fn remove_item(&mut self, path: &[Step<'_>], index: usize) -> Result {
        let node = self.document.node(path).ok_or(OtherShape)?;
        self.remove(&node.clone(), index)
    }

    fn remove(&mut self, node: &Node, index: usize) -> Result {
        let (layout, parts) = node.parts().ok_or(OtherShape)?;
        let part = parts.get(index).ok_or(OtherShape)?;
        match layout {
            Layout::Block => {
                let start = self.own_start(node, part).ok_or(OtherShape)?;
                let line = self.line_start(start)..self.line_end(part.end);
                // With it go the comments that stand behind it and inside it.
                let alone = self.text[line.start..start].trim().is_empty()
                    && is_silent(&self.text[part.end..line.end]);
                if !alone {
                    return Err(OtherShape);
                }
                self.text.replace_range(line, "");
            }
            Layout::Flow => {
                let mut cut = vec![part.clone()];
                let before = index.checked_sub(1).map(|i| parts[i].end);
                let next = self.next_visible(part.end);
                let own_comma = self.text[next..].starts_with(',').then_some(next);
                // On one line the last item's own comma stays: it is the list's style.
                let comma = match before {
                    Some(end) if index + 1 == parts.len() => {
                        let one_line = !self.text[end..part.start].contains('\n');
                        own_comma.filter(|_| !one_line).or_else(|| Some(self.next_visible(end)))
                    }
                    _ => own_comma,
                };
                cut.extend(comma.map(|at| at..at + 1));
                self.cut_within_brackets(cut);
            }
        }
        self.reindex()
    }

    /// Cuts pieces out, with the white space between and behind them, and lines that say nothing
    /// any more.
    fn cut_within_brackets(&mut self, mut cut: Vec<Range<usize>>) {
        cut.sort_by_key(|range| range.start);
        if let [first, second] = &mut cut[..]
            && self.text[first.end..second.start].trim_matches([' ', '\t']).is_empty()
        {
            first.end = second.end;
            cut.truncate(1);
        }
        for mut range in cut.into_iter().rev() {
            let blanks = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
            let behind = range.end + blanks(&self.text[range.end..]);
            let line = self.line_start(range.start)..self.line_end(range.end);
            let first_on_line = self.text[line.start..range.start].trim().is_empty();
            if first_on_line && is_silent(&self.text[behind..line.end]) {
                range = line;
            } else if self.text[..range.end].ends_with(',') && !self.text[behind..].starts_with('#')
            {
                range.end = behind;
            }
            self.text.replace_range(range, "");
        }
    }

    /// Gives an entry another name, in the same quotes.
    pub(crate) fn rename_entry(&mut self, section: &str, from: &str, to: &str) -> Result {
        let node = self.document.node(&[Step::Field(section)]).ok_or(OtherShape)?;
        let (name, _) = node.entry(from).ok_or(OtherShape)?;
        self.replace(&name.clone(), to, plain(to))
    }

    /// Gives the text that `path` leads to another content, in the same quotes.
    pub(crate) fn set_text(&mut self, path: &[Step<'_>], to: &str) -> Result {
        let node = self.document.node(path).ok_or(OtherShape)?;
        self.replace(&node.clone(), to, plain(to))
    }

    /// The same with a number or a date, which needs no quotes.
    pub(crate) fn set_value(&mut self, path: &[Step<'_>], to: &str) -> Result {
        let node = self.document.node(path).ok_or(OtherShape)?;
        self.replace(&node.clone(), to, to.to_owned())
    }

    fn replace(&mut self, node: &Node, to: &str, plain: String) -> Result {
        let text = match &node.kind {
            NodeKind::Scalar { style: ScalarStyle::Plain, .. } if !node.is_absent() => plain,
            NodeKind::Scalar { style: ScalarStyle::SingleQuoted, .. } => format!("'{to}'"),
            NodeKind::Scalar { style: ScalarStyle::DoubleQuoted, .. } => format!("\"{to}\""),
            _ => return Err(OtherShape),
        };
        self.text.replace_range(node.span.clone(), &text);
        self.reindex()
    }

    fn insert(&mut self, at: usize, addition: &str) -> Result {
        let unended = at == self.text.len() && !self.text.ends_with('\n');
        if unended && addition.ends_with('\n') {
            self.text.push_str(self.newline());
            self.text.push_str(addition);
        } else {
            self.text.insert_str(at, addition);
        }
        self.reindex()
    }

    fn reindex(&mut self) -> Result {
        self.document = Document::parse(&self.text).map_err(|_| OtherShape)?;
        Ok(())
    }

    /// Where a part begins, including the dash before an item in block style.
    fn own_start(&self, node: &Node, part: &Range<usize>) -> Option<usize> {
        match &node.kind {
            NodeKind::List { .. } => {
                let before = self.text[..part.start].trim_end();
                before.ends_with('-').then(|| before.len() - 1)
            }
            _ => Some(part.start),
        }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    /// The next character that is neither white space nor part of a comment.
    fn next_visible(&self, mut at: usize) -> usize {
        loop {
            let rest = &self.text[at..];
            at += rest.len() - rest.trim_start().len();
            if !self.text[at..].starts_with('#') {
                return at;
            }
            at = self.line_end(at);
        }
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

impl Node {
    /// The layout of a collection, and the spans of its parts.
    fn parts(&self) -> Option<(Layout, Vec<Range<usize>>)> {
        match &self.kind {
            NodeKind::Scalar { .. } => None,
            NodeKind::List { items, layout } => {
                Some((*layout, items.iter().map(|item| item.span.clone()).collect()))
            }
            NodeKind::Mapping { entries, layout } => {
                let spans = entries
                    .iter()
                    .map(|(name, node)| name.span.start..node.span.end.max(name.span.end));
                Some((*layout, spans.collect()))
            }
        }
    }
}

/// Whether all lines are blank or comments.
fn is_silent(text: &str) -> bool {
    text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'))
}

/// A text without characters that need escapes, quoted where YAML 1.1 or 1.2 would take it for
/// something else than text.
pub(crate) fn plain(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        format!("\"{text}\"")
    }
}
