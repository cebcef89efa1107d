//! The pipeline's own figures: a panel beside the updates, or a line under them.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::board::Board;
use super::{aged, fill, is_old, time_of_day};
use crate::cli::text;

/// A figure as it is shown.
struct Figure {
    name: &'static str,
    short: &'static str,
    value: String,
    /// Somebody should look.
    is_marked: bool,
    at_ms: i64,
}

impl Figure {
    fn style(&self, now_ms: i64) -> Style {
        let emphasis = match self.is_marked {
            true => Style::new().fg(Color::Yellow),
            false => Style::new(),
        };
        emphasis.patch(aged(is_old(self.at_ms, now_ms)))
    }
}

fn figures(board: &Board) -> [Figure; 5] {
    let (all, pipeline) = (&board.figures, &board.figures.pipeline);
    let unknown = || "?".to_owned();
    let measured = |name, short, value: Option<String>, is_marked| Figure {
        name,
        short,
        value: value.unwrap_or_else(unknown),
        is_marked,
        at_ms: all.at_ms,
    };
    let counted = |name, short, value: Option<u64>, is_fault: bool| Figure {
        name,
        short,
        value: value.map_or_else(unknown, |value| {
            text::count(i64::try_from(value).unwrap_or(i64::MAX))
        }),
        is_marked: is_fault && value.is_some_and(|value| value > 0),
        at_ms: all.counts_at_ms,
    };
    let is_far_behind = all.lag.is_some_and(|lag| lag > 100_000);
    let rate = pipeline.events_per_second.map(text::rate);
    [
        measured("events/s", "ev/s", rate, false),
        measured("lag", "lag", all.lag.map(text::count), is_far_behind),
        counted("late", "late", pipeline.late, true),
        counted("dead-lettered", "dead", pipeline.dead_lettered, true),
        counted("duplicates", "dup", pipeline.duplicate, false),
    ]
}

/// Since when figures are old, where they are.
fn since(board: &Board, now_ms: i64) -> Option<String> {
    let figures = &board.figures;
    if is_old(figures.at_ms, now_ms) {
        return Some(match figures.at_ms {
            0 => "not known yet".to_owned(),
            at_ms => format!("since {}", time_of_day(at_ms)),
        });
    }
    let at_ms = figures.counts_at_ms;
    (at_ms != 0 && is_old(at_ms, now_ms)).then(|| format!("counts since {}", time_of_day(at_ms)))
}

/// How many lines the foot has: what is wrong gets one of its own.
pub(super) fn foot_height(board: &Board, now_ms: i64) -> u16 {
    let is_well = board.figures.trouble.is_none() && board.trouble.is_none();
    match is_well && since(board, now_ms).is_none() {
        true => 1,
        false => 2,
    }
}

pub(super) fn panel(board: &Board, now_ms: i64) -> Paragraph<'static> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let mut lines = vec![Line::styled("PIPELINE", dim)];
    for figure in figures(board) {
        lines.push(Line::from(vec![
            Span::styled(format!("{:14}", figure.name), dim),
            Span::styled(format!("{:>14}", figure.value), figure.style(now_ms)),
        ]));
    }
    lines.extend(since(board, now_ms).map(|since| Line::styled(since, dim)));
    for trouble in [&board.figures.trouble, &board.trouble]
        .into_iter()
        .flatten()
    {
        lines.push(Line::styled(fill(trouble, 28), Style::new().fg(Color::Red)));
    }
    lines.push(Line::default());
    lines.push(Line::styled("q quits", dim));
    Paragraph::new(lines)
}

/// The figures in a line and, where there is room, what is wrong in another.
pub(super) fn foot(board: &Board, now_ms: i64, (width, height): (u16, u16)) -> Paragraph<'static> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let mut spans = Vec::new();
    let mut room = usize::from(width);
    for figure in figures(board) {
        let name = if width >= 60 {
            figure.name
        } else {
            figure.short
        };
        let text = match figure.short {
            "ev/s" => format!("{} {name}  ", figure.value),
            _ => format!("{name} {}  ", figure.value),
        };
        if text.trim_end().len() > room {
            break;
        }
        room = room.saturating_sub(text.len());
        spans.push(Span::styled(text, figure.style(now_ms)));
    }
    let red = Style::new().fg(Color::Red);
    let trouble = board.figures.trouble.as_ref().or(board.trouble.as_ref());
    if height < 2 {
        spans.extend(match (trouble, since(board, now_ms)) {
            (Some(trouble), _) => Some(Span::styled(fill(trouble, room), red)),
            (None, Some(since)) => Some(Span::raw(since)),
            (None, None) => (room >= 7).then(|| Span::styled(format!("{:>room$}", "q quits"), dim)),
        });
    }
    let mut lines = vec![Line::from(spans)];
    if height >= 2 {
        let since = since(board, now_ms).map(|since| format!("{since}  "));
        let since = since.unwrap_or_default();
        let room = usize::from(width).saturating_sub(since.len());
        let words = fill(trouble.map_or("", String::as_str), room);
        lines.push(Line::from(vec![
            Span::styled(since, dim),
            Span::styled(words, red),
        ]));
    }
    Paragraph::new(lines)
}
