//! Where things go at which size. Both the view and scrolling ask here, so they can't disagree.

use ratatui::layout::{Rect, Size};

/// The parts of a screen. They never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) header: Rect,
    pub(crate) list: Rect,
    /// Beside the list from 100 columns, below it from 60; none on smaller screens.
    pub(crate) detail: Option<Rect>,
    pub(crate) footer: Rect,
    /// List and detail together.
    pub(crate) body: Rect,
}

impl Layout {
    /// None where a screen is too small for anything: below 20×5.
    pub(crate) fn new(size: Size) -> Option<Self> {
        let Size { width, height } = size;
        if width < 20 || height < 5 {
            return None;
        }
        let body = Rect::new(0, 1, width, height - 2);
        let (list, detail) = if width < 60 || height < 16 {
            (body, None)
        } else if width >= 100 {
            let left = width / 2;
            (Rect { width: left, ..body }, Some(Rect { x: left, width: width - left, ..body }))
        } else {
            let below = body.height * 2 / 5;
            let above = body.height - below;
            (
                Rect { height: above, ..body },
                Some(Rect { y: body.y + above, height: below, ..body }),
            )
        };
        let header = Rect::new(0, 0, width, 1);
        let footer = Rect::new(0, height - 1, width, 1);
        Some(Self { header, list, detail, footer, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_design_sizes_get_their_layouts() {
        let detail = |width, height| Layout::new(Size::new(width, height)).map(|l| l.detail);
        assert_eq!(detail(19, 50), None);
        assert_eq!(detail(120, 4), None);
        assert_eq!(detail(20, 5), Some(None));
        assert_eq!(detail(59, 50), Some(None));
        assert_eq!(detail(120, 15), Some(None));
        assert_eq!(detail(60, 16).flatten(), Some(Rect::new(0, 10, 60, 5)));
        assert_eq!(detail(100, 24).flatten(), Some(Rect::new(50, 1, 50, 22)));
    }
}
