//! Which columns the table of markets has at a width, and how wide each is.

use ratatui::style::{Modifier, Style};
use ratatui::text::Line;

/// A column of the table of markets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Column {
    Market,
    Price,
    Change,
    Low,
    Range,
    High,
    Volume,
    Spread,
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Market => "MARKET",
            Self::Price => "PRICE",
            Self::Change => "CHANGE",
            Self::Low => "24H LOW",
            Self::Range => "IN RANGE",
            Self::High => "24H HIGH",
            Self::Volume => "VOLUME",
            Self::Spread => "SPREAD",
        }
    }

    fn is_left(self) -> bool {
        matches!(self, Self::Market | Self::Range)
    }
}

/// The columns, in their order; the range takes what the others leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Columns(Vec<(Column, usize)>);

impl Columns {
    /// The columns that a screen of this width has.
    pub(super) fn of(width: u16) -> Self {
        use Column::{Change, High, Low, Market, Price, Range, Spread, Volume};
        let mut columns = match width {
            100.. => vec![
                (Market, 12),
                (Price, 13),
                (Change, 9),
                (Low, 13),
                (Range, 0),
                (High, 13),
                (Volume, 9),
                (Spread, 10),
            ],
            80.. => vec![
                (Market, 10),
                (Price, 11),
                (Change, 8),
                (Low, 10),
                (Range, 0),
                (High, 10),
                (Volume, 7),
                (Spread, 7),
            ],
            60.. => vec![
                (Market, 10),
                (Price, 11),
                (Change, 8),
                (Low, 10),
                (Range, 0),
                (High, 10),
            ],
            36.. => vec![(Market, 9), (Price, 10), (Change, 8), (Range, 0)],
            _ => vec![(Market, 9), (Price, 10)],
        };
        let taken: usize = columns.iter().map(|(_, width)| width).sum();
        let gaps = columns.len() - 1;
        let left = usize::from(width).saturating_sub(taken + gaps);
        if let Some((_, room)) = columns.iter_mut().find(|(column, _)| *column == Range) {
            *room = left.min(34);
        }
        Self(columns)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Column, usize)> {
        self.0.iter().copied()
    }

    pub(super) fn heads(&self) -> Line<'static> {
        let cells = self.iter().map(|(column, width)| {
            let head: String = column.head().chars().take(width).collect();
            match column.is_left() {
                true => format!("{head:width$}"),
                false => format!("{head:>width$}"),
            }
        });
        let text = cells.collect::<Vec<_>>().join(" ");
        Line::styled(text, Style::new().add_modifier(Modifier::DIM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_never_take_more_than_there_is_and_the_range_is_worth_looking_at() {
        for width in 20..300 {
            let columns = Columns::of(width);
            let taken: usize = columns.iter().map(|(_, width)| width + 1).sum();
            assert!(taken - 1 <= usize::from(width), "{width}: {columns:?}");
            for (column, room) in columns.iter() {
                assert!(column != Column::Range || room >= 6, "{width}: {columns:?}");
            }
        }
    }
}
