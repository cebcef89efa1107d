//! The pipeline's own figures: a panel beside the updates, or a line under them.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::board::Board;
use super::{aged, fill, is_old, time_of_day};
use crate::cli::text;

/// Each figure: its name, its short name, its value, and whether somebody should look.
fn figures(board: &Board) -> [(&'static str, &'static str, String, bool); 5] {
    let unknown = || "?".to_owned();
    let count = |value: Option<u64>| {
        let value = value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        value.map_or_else(unknown, text::count)
    };
    let pipeline = &board.figures.pipeline;
    let rate = pipeline.events_per_second.map_or_else(unknown, text::rate);
    let lag = board.figures.lag.map_or_else(unknown, text::count);
    let is_some = |value: Option<u64>| value.is_some_and(|value| value > 0);
    [
        ("events/s", "ev/s", rate, false),
        (
            "lag",
            "lag",
            lag,
            board.figures.lag.is_some_and(|lag| lag > 100_000),
        ),
        ("late", "late", count(pipeline.late), is_some(pipeline.late)),
        (
            "dead-lettered",
            "dead",
            count(pipeline.dead_lettered),
            is_some(pipeline.dead_lettered),
        ),
        ("duplicates", "dup", count(pipeline.duplicate), false),
    ]
}

/// Why the figures are old, and since when.
fn since(board: &Board) -> String {
    match board.figures.at_ms {
        0 => "not known yet".to_owned(),
        at_ms => format!("since {}", time_of_day(at_ms)),
    }
}

fn emphasis(is_marked: bool) -> Style {
    match is_marked {
        true => Style::new().fg(Color::Yellow),
        false => Style::new(),
    }
}

pub(super) fn panel(board: &Board, now_ms: i64) -> Paragraph<'static> {
    let is_old = is_old(board.figures.at_ms, now_ms);
    let dim = Style::new().add_modifier(Modifier::DIM);
    let mut lines = vec![Line::styled("PIPELINE", dim)];
    for (name, _, value, is_marked) in figures(board) {
        let spans = vec![
            Span::styled(format!("{name:14}"), dim),
            Span::styled(format!("{value:>14}"), emphasis(is_marked)),
        ];
        lines.push(Line::from(spans).patch_style(aged(is_old)));
    }
    if is_old {
        lines.push(Line::styled(since(board), dim));
    }
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

pub(super) fn line(board: &Board, now_ms: i64, width: u16) -> Paragraph<'static> {
    let is_old = is_old(board.figures.at_ms, now_ms);
    let trouble = board.figures.trouble.as_ref().or(board.trouble.as_ref());
    let mut spans = Vec::new();
    let mut room = usize::from(width);
    for (name, short, value, is_marked) in figures(board) {
        let name = if width >= 60 { name } else { short };
        let text = match name {
            "events/s" | "ev/s" => format!("{value} {name}  "),
            _ => format!("{name} {value}  "),
        };
        if text.trim_end().len() > room {
            break;
        }
        room = room.saturating_sub(text.len());
        spans.push(Span::styled(text, emphasis(is_marked)));
    }
    let mut line = Line::from(spans).patch_style(aged(is_old));
    let words = match (trouble, is_old) {
        (Some(trouble), _) => Some(Span::styled(
            fill(trouble, room),
            Style::new().fg(Color::Red),
        )),
        (None, true) => Some(Span::raw(since(board))),
        (None, false) if room >= 7 => Some(Span::styled(
            format!("{:>room$}", "q quits"),
            Style::new().add_modifier(Modifier::DIM),
        )),
        (None, false) => None,
    };
    line.extend(words);
    Paragraph::new(line)
}
