//! Where each part of a YAML text stands. It serves positions in errors and the places of edits;
//! what a policy *means* is read by serde from the text itself, never from here.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::error::{PolicyError, PolicyProblem, Position, Shown};

/// Deeper than any policy; what is nested deeper is refused before a recursive parser sees it.
const MAX_DEPTH: usize = 8;

/// The parts of a text, as a tree.
pub(crate) struct Document {
    /// None in a text without content.
    pub(crate) root: Option<Node>,
}

/// One part of the text.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    /// Byte offsets. A collection in block style begins where its first entry does and ends
    /// where its last one does.
    pub(crate) span: Range<usize>,
    pub(crate) kind: NodeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Scalar { text: String, style: ScalarStyle },
    List { items: Vec<Node>, layout: Layout },
    Mapping { entries: Vec<(Node, Node)>, layout: Layout },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// By indentation.
    Block,
    /// In brackets or braces.
    Flow,
}

/// A step from a part to one inside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl Document {
    /// Reads one document, without anchors, aliases, tags and duplicate entries.
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut builder = Builder::new(text);
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|e| {
                let position = Position { line: e.marker().line(), column: e.marker().col() + 1 };
                // An unquoted pattern looks like an alias, often one that isn't even well-formed.
                let alias = text[builder.offset(e.marker().index())..].starts_with('*');
                let syntax = || PolicyProblem::Syntax(e.info().to_owned());
                refusal(position, if alias { PolicyProblem::Alias } else { syntax() })
            })?;
            builder.take(event, span)?;
        }
        Ok(Self { root: builder.root })
    }

    /// The part that `path` leads to, from the root.
    pub(crate) fn node(&self, path: &[Step<'_>]) -> Option<&Node> {
        path.iter().try_fold(self.root.as_ref()?, |node, step| node.child(step).map(|(_, n)| n))
    }

    /// The position of the part that `path` leads to, or of the nearest part around it.
    pub(crate) fn position(&self, path: &[Step<'_>]) -> Option<Position> {
        self.nearest(path, |_, node| node.position)
    }

    /// Like [`Self::position`], but of an entry's name rather than what it holds.
    pub(crate) fn name_position(&self, path: &[Step<'_>]) -> Option<Position> {
        self.nearest(path, |name, node| name.unwrap_or(node).position)
    }

    fn nearest(
        &self,
        path: &[Step<'_>],
        position: impl Fn(Option<&Node>, &Node) -> Position,
    ) -> Option<Position> {
        let mut node = self.root.as_ref()?;
        let mut found = node.position;
        for step in path {
            let Some((name, child)) = node.child(step) else { break };
            found = position(name, child);
            node = child;
        }
        Some(found)
    }

    /// The innermost part that begins at `position`.
    pub(crate) fn beginning_at(&self, position: Position) -> Option<&Node> {
        fn search(node: &Node, position: Position) -> Option<&Node> {
            let inside = match &node.kind {
                NodeKind::Scalar { .. } => None,
                NodeKind::List { items, .. } => items.iter().find_map(|n| search(n, position)),
                NodeKind::Mapping { entries, .. } => {
                    entries.iter().find_map(|(_, n)| search(n, position))
                }
            };
            inside.or((node.position == position).then_some(node))
        }
        search(self.root.as_ref()?, position)
    }
}

impl Node {
    fn child(&self, step: &Step<'_>) -> Option<(Option<&Node>, &Node)> {
        match (&self.kind, step) {
            (NodeKind::List { items, .. }, Step::Item(index)) => {
                items.get(*index).map(|node| (None, node))
            }
            (NodeKind::Mapping { .. }, Step::Field(field)) => {
                self.entry(field).map(|(name, node)| (Some(name), node))
            }
            _ => None,
        }
    }

    /// The name and the content of a mapping's entry.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Node, &Node)> {
        let NodeKind::Mapping { entries, .. } = &self.kind else { return None };
        entries.iter().find(|(n, _)| n.text() == Some(name)).map(|(n, node)| (n, node))
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Nothing at all: `groups:` and no more.
    pub(crate) fn is_absent(&self) -> bool {
        self.span.is_empty()
    }

    /// What it is, for people.
    pub(crate) fn description(&self) -> &'static str {
        match &self.kind {
            NodeKind::List { .. } => "a list",
            NodeKind::Mapping { .. } => "a mapping",
            NodeKind::Scalar { .. } if self.is_absent() => "empty",
            NodeKind::Scalar { style: ScalarStyle::Plain, text } => match text.as_str() {
                "true" | "false" => "true or false",
                number if number.parse::<f64>().is_ok() => "a number",
                _ => "text",
            },
            NodeKind::Scalar { .. } => "text",
        }
    }
}

fn refusal(position: Position, problem: PolicyProblem) -> PolicyError {
    PolicyError::new(Some(position), problem)
}

struct Builder<'t> {
    text: &'t str,
    /// The byte at which each character begins, and the end.
    offsets: Vec<usize>,
    open: Vec<Open>,
    root: Option<Node>,
}

/// A collection that hasn't ended yet.
struct Open {
    node: Node,
    /// In a mapping: the name whose content comes next.
    name: Option<Node>,
    /// In a mapping: the line of each name so far.
    lines: HashMap<String, usize>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        let offsets = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
        Self { text, offsets, open: Vec::new(), root: None }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), PolicyError> {
        let position = Position { line: span.start.line(), column: span.start.col() + 1 };
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(refusal(position, PolicyProblem::SecondDocument))
            }
            Event::Alias(_) => Err(refusal(position, PolicyProblem::Alias)),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                Err(refusal(position, PolicyProblem::Alias))
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err(refusal(position, PolicyProblem::Tag)),
            Event::Scalar(text, style, ..) => {
                let start = self.offset(span.start.index());
                let end = self.scalar_end(start, self.offset(span.end.index()), style);
                let (span, text) = (start..end, text.into_owned());
                self.add(Node { position, span, kind: NodeKind::Scalar { text, style } })
            }
            Event::SequenceStart(..) => {
                let layout = self.layout(&span);
                self.open(position, &span, NodeKind::List { items: Vec::new(), layout })
            }
            Event::MappingStart(..) => {
                let layout = self.layout(&span);
                self.open(position, &span, NodeKind::Mapping { entries: Vec::new(), layout })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(&span),
            _ => Ok(()),
        }
    }

    fn offset(&self, character: usize) -> usize {
        let end = self.offsets.last().copied().unwrap_or_default();
        self.offsets.get(character).copied().unwrap_or(end)
    }

    /// Without the comment that the parser counts to a quoted text, and the blank lines that it
    /// counts to a text in block style.
    fn scalar_end(&self, start: usize, end: usize, style: ScalarStyle) -> usize {
        let text = &self.text[start..end];
        let quote = match style {
            ScalarStyle::SingleQuoted => b'\'',
            ScalarStyle::DoubleQuoted => b'"',
            _ => return start + text.trim_end().len(),
        };
        // A doubled single quote ends the text only to begin it again.
        let mut bytes = text.bytes().enumerate().skip(1);
        let mut end = text.len();
        while let Some((index, byte)) = bytes.next() {
            if byte == b'\\' && quote == b'"' {
                bytes.next();
            } else if byte == quote {
                end = index + 1;
                if quote == b'"' || text.as_bytes().get(end) != Some(&quote) {
                    break;
                }
                bytes.next();
            }
        }
        start + end
    }

    fn layout(&self, span: &Span) -> Layout {
        // The first name in a block mapping may itself begin with a bracket; but the start of a
        // block mapping has no width.
        let bracket = self.text[self.offset(span.start.index())..].starts_with(['[', '{']);
        if bracket && !span.is_empty() { Layout::Flow } else { Layout::Block }
    }

    fn open(&mut self, position: Position, span: &Span, kind: NodeKind) -> Result<(), PolicyError> {
        if self.open.len() == MAX_DEPTH {
            return Err(refusal(position, PolicyProblem::TooDeep));
        }
        let start = self.offset(span.start.index());
        let node = Node { position, span: start..start, kind };
        self.open.push(Open { node, name: None, lines: HashMap::new() });
        Ok(())
    }

    fn close(&mut self, span: &Span) -> Result<(), PolicyError> {
        let Some(Open { mut node, .. }) = self.open.pop() else { return Ok(()) };
        let (layout, last) = match &node.kind {
            NodeKind::List { items, layout } => (*layout, items.last()),
            NodeKind::Mapping { entries, layout } => (*layout, entries.last().map(|(_, n)| n)),
            NodeKind::Scalar { .. } => return Ok(()),
        };
        node.span.end = match layout {
            // The parser's own end includes a comment that follows the bracket.
            Layout::Flow => self.offset(span.start.index()) + 1,
            Layout::Block => last.map_or(node.span.start, |n| n.span.end),
        };
        self.add(node)
    }

    fn add(&mut self, node: Node) -> Result<(), PolicyError> {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.node.kind, parent.name.take()) {
            (NodeKind::List { items, .. }, _) => items.push(node),
            (NodeKind::Mapping { entries, .. }, Some(name)) => entries.push((name, node)),
            (NodeKind::Mapping { .. }, None) => {
                let Some(text) = node.text() else {
                    return Err(refusal(node.position, PolicyProblem::EntryName));
                };
                if let Some(&first_line) = parent.lines.get(text) {
                    let name = Shown::new(text);
                    let problem = PolicyProblem::Duplicate { name, first_line };
                    return Err(refusal(node.position, problem));
                }
                parent.lines.insert(text.to_owned(), node.position.line);
                parent.name = Some(node);
            }
            (NodeKind::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(text: &str) -> Vec<&str> {
        fn collect<'t>(node: &Node, text: &'t str, into: &mut Vec<&'t str>) {
            into.push(&text[node.span.clone()]);
            match &node.kind {
                NodeKind::Scalar { .. } => {}
                NodeKind::List { items, .. } => items.iter().for_each(|n| collect(n, text, into)),
                NodeKind::Mapping { entries, .. } => {
                    for (name, node) in entries {
                        collect(name, text, into);
                        collect(node, text, into);
                    }
                }
            }
        }
        let mut found = Vec::new();
        collect(Document::parse(text).unwrap().root.as_ref().unwrap(), text, &mut found);
        found
    }

    #[test]
    fn spans_are_exactly_the_text_of_each_part() {
        let text = "# é\r\na: 'x''y'  # é\r\nb:\r\n- [p, q] # c\r\n-   {k: \"é\\\"\"} # d\r\nc:\r\nd: {}\r\n# end";
        let expected = [
            &text[6..text.len() - 7],
            "a",
            "'x''y'",
            "b",
            "[p, q] # c\r\n-   {k: \"é\\\"\"}",
            "[p, q]",
            "p",
            "q",
            "{k: \"é\\\"\"}",
            "k",
            "\"é\\\"\"",
            "c",
            "",
            "d",
            "{}",
        ];
        assert_eq!(spans(text), expected);
    }

    #[test]
    fn positions_count_characters_from_one() {
        let document = Document::parse("é:\n  ü: [ä, ö]\n").unwrap();
        let path = [Step::Field("é"), Step::Field("ü"), Step::Item(1)];
        assert_eq!(document.position(&path), Some(Position { line: 2, column: 10 }));
        let path = [Step::Field("é"), Step::Field("missing"), Step::Item(1)];
        assert_eq!(document.position(&path), Some(Position { line: 2, column: 3 }));
    }
}
