//! The board on a screen: a pure function of the board, the time and the size.
//!
//! What is old is dimmed and says since when: a market that nothing came of for
//! `OLD_MS`, and figures that could not be taken for as long.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use schemas::time::EventTime;

use super::board::{Board, OLD_MS, UPDATES_MAX, Update, What};
use super::market::{Direction, Market};
use super::number;
use crate::cli::text;

mod columns;
mod pipeline;

use columns::{Column, Columns};

/// Below this there is no room for anything.
const SIZE_MIN: (u16, u16) = (20, 5);
/// From this width on, the pipeline's figures stand beside the updates.
const WIDE: u16 = 100;
/// From this height on, what is wrong gets a line of its own under them where they do not.
const FOOT_FROM: u16 = 10;
/// How wide they are there.
const PIPELINE_WIDTH: u16 = 30;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, board: &Board, now_ms: i64) {
    let area = frame.area();
    if area.width < SIZE_MIN.0 || area.height < SIZE_MIN.1 {
        frame.render_widget(Paragraph::new("too small"), area);
        return;
    }
    let rows = Rows::of(area, board, now_ms);
    let [head, markets, updates, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rows.markets),
        Constraint::Min(1),
        Constraint::Length(rows.foot),
    ])
    .areas(area);
    frame.render_widget(head_line(board, now_ms, head.width), head);
    frame.render_widget(market_table(board, now_ms, markets), markets);
    match area.width >= WIDE {
        true => {
            let sides = [Constraint::Min(1), Constraint::Length(PIPELINE_WIDTH)];
            let [left, right] = Layout::horizontal(sides).areas(updates);
            frame.render_widget(update_list(board, now_ms, left), left);
            frame.render_widget(pipeline::panel(board, now_ms), right);
        }
        false => {
            frame.render_widget(update_list(board, now_ms, updates), updates);
            let size = (foot.width, foot.height);
            frame.render_widget(pipeline::foot(board, now_ms, size), foot);
        }
    }
}

/// How many lines each part gets.
struct Rows {
    /// The table of markets, its heads and the line under it.
    markets: u16,
    foot: u16,
}

impl Rows {
    /// The markets get what they need, but the updates keep a third, up to five lines.
    fn of(area: Rect, board: &Board, now_ms: i64) -> Self {
        let foot = match area.width < WIDE {
            true if area.height >= FOOT_FROM => pipeline::foot_height(board, now_ms),
            is_narrow => u16::from(is_narrow),
        };
        // The head, the heads of both tables.
        let room = area.height.saturating_sub(3 + foot);
        let updates_min = (room / 3).clamp(1, 5);
        let wanted = u16::try_from(board.markets().len().max(1)).unwrap_or(u16::MAX);
        let mut markets = wanted.min(room - updates_min.min(room));
        // A blank line between the two, where it costs no update.
        let updates = u16::try_from(UPDATES_MAX).unwrap_or(u16::MAX);
        if room.saturating_sub(markets) > updates {
            markets += 1;
        }
        Self {
            markets: 1 + markets,
            foot,
        }
    }
}

/// The style of what is old, or of what is not.
fn aged(is_old: bool) -> Style {
    match is_old {
        true => Style::new().add_modifier(Modifier::DIM),
        false => Style::new(),
    }
}

fn is_old(seen_at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(seen_at_ms) > OLD_MS
}

/// `21:05:48`
fn time_of_day(ms: i64) -> String {
    let text = text::clock_time(EventTime::from_ms(ms));
    text.get(..8).unwrap_or("--:--:--").to_owned()
}

/// A text of exactly this width: cut, or filled up on its right.
fn fill(text: &str, width: usize) -> String {
    let mut cut: String = text.chars().take(width).collect();
    if text.chars().count() > width && width > 1 {
        cut.pop();
        cut.push('…');
    }
    format!("{cut:width$}")
}

fn head_line(board: &Board, now_ms: i64, width: u16) -> Paragraph<'static> {
    let clock = format!("{} UTC", time_of_day(now_ms));
    let room = usize::from(width).saturating_sub(clock.len() + 1);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let name = "PulseStream";
    let rest = format!("  {}: {}", board.tenant, board.source);
    let rest = fill(&rest, room.saturating_sub(name.len()));
    let spans = vec![
        Span::styled(fill(name, room.min(name.len())), bold),
        Span::raw(rest),
        Span::raw(" "),
        Span::styled(clock, Style::new().add_modifier(Modifier::DIM)),
    ];
    Paragraph::new(Line::from(spans))
}

fn market_table(board: &Board, now_ms: i64, area: Rect) -> Paragraph<'static> {
    let columns = Columns::of(area.width);
    let mut lines = vec![columns.heads()];
    let room = usize::from(area.height.saturating_sub(1));
    let count = board.markets().len();
    if count == 0 {
        let words = board.trouble.as_deref().unwrap_or("no trade or quote yet");
        lines.push(Line::styled(words.to_owned(), aged(true)));
    }
    // One line says how many are not shown.
    let shown = if count <= room {
        count
    } else {
        room.saturating_sub(1)
    };
    for (subject, market) in board.markets().take(shown) {
        lines.push(market_line(&columns, subject, market, now_ms));
    }
    if shown < count {
        let more = format!("… and {} more: a higher window shows them", count - shown);
        lines.push(Line::styled(more, aged(true)));
    }
    Paragraph::new(lines)
}

fn market_line(columns: &Columns, subject: &str, market: &Market, now_ms: i64) -> Line<'static> {
    let is_old = is_old(market.seen_at_ms, now_ms);
    let mut spans = Vec::new();
    for (column, width) in columns.iter() {
        if !spans.is_empty() {
            spans.push(Span::raw(" "));
        }
        spans.extend(cell(column, width, subject, market, is_old));
    }
    let line = Line::from(spans);
    if is_old {
        line.patch_style(aged(true))
    } else {
        line
    }
}

fn cell(
    column: Column,
    width: usize,
    subject: &str,
    market: &Market,
    is_old: bool,
) -> Vec<Span<'static>> {
    let right = |text: String, style: Style| {
        let text = fill(&text, text.chars().count().min(width));
        vec![Span::styled(format!("{text:>width$}"), style)]
    };
    let plain = Style::new();
    let price = |value: Option<_>| {
        let text = value.map(|value| number::fitting(value, market.places, width));
        right(text.unwrap_or_else(|| "-".into()), plain)
    };
    let short = |value: Option<_>| right(value.map_or("-".into(), number::short), plain);
    match column {
        Column::Market => {
            let style = plain.add_modifier(Modifier::BOLD);
            vec![Span::styled(fill(product(subject), width), style)]
        }
        Column::Price => {
            let text = market
                .price
                .map(|value| number::fitting(value, market.places, width));
            right(
                text.unwrap_or_else(|| "-".into()),
                direction(market.direction),
            )
        }
        Column::Change => match market.change() {
            Some(change) => right(number::percent(change), sign(change)),
            None => right("-".into(), plain),
        },
        Column::Low => price(market.day.low),
        Column::High => price(market.day.high),
        Column::Volume => short(market.day.volume),
        Column::Spread => price(market.spread()),
        Column::Range if is_old => {
            let since = time_of_day(market.seen_at_ms);
            let words = format!("since {since}");
            let text = if words.len() <= width { words } else { since };
            vec![Span::raw(fill(&text, width))]
        }
        Column::Range => range(market.position(), width),
    }
}

/// Where the price stands between the day's low and high.
fn range(position: Option<f64>, width: usize) -> Vec<Span<'static>> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let Some(position) = position else {
        return vec![Span::styled(fill("-", width), dim)];
    };
    let last = width.saturating_sub(1);
    let at = ((position * last as f64).round() as usize).min(last);
    vec![
        Span::styled("─".repeat(at), dim),
        Span::styled("●", Style::new().fg(Color::Cyan)),
        Span::styled("─".repeat(last - at), dim),
    ]
}

/// `coinbase:BTC-USD` → `BTC-USD`
fn product(subject: &str) -> &str {
    subject
        .split_once(':')
        .map_or(subject, |(_, product)| product)
}

fn direction(direction: Direction) -> Style {
    match direction {
        Direction::Unknown => Style::new(),
        Direction::Up => Style::new().fg(Color::Green),
        Direction::Down => Style::new().fg(Color::Red),
    }
}

fn sign(value: f64) -> Style {
    match value {
        value if value > 0.0 => Style::new().fg(Color::Green),
        value if value < 0.0 => Style::new().fg(Color::Red),
        _ => Style::new(),
    }
}

fn update_list(board: &Board, now_ms: i64, area: Rect) -> Paragraph<'static> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let mut lines = vec![Line::styled(
        fill("LAST UPDATES", usize::from(area.width)),
        dim,
    )];
    let is_old = board.seen_at_ms().is_none_or(|at| is_old(at, now_ms));
    let room = usize::from(area.height.saturating_sub(1));
    for update in board.updates().take(room) {
        let line = update_line(update, usize::from(area.width));
        lines.push(if is_old {
            line.patch_style(aged(true))
        } else {
            line
        });
    }
    Paragraph::new(lines)
}

fn update_line(update: &Update, width: usize) -> Line<'static> {
    let time = text::clock_time(update.occurred_at);
    // Milliseconds go first where there is little room.
    let time = if width >= 60 {
        time
    } else {
        time.get(..8).unwrap_or(&time).to_owned()
    };
    let name = fill(product(&update.subject), if width >= 60 { 10 } else { 8 });
    let (words, style) = words(&update.what, update.places);
    let room = width.saturating_sub(time.len() + name.chars().count() + 3);
    Line::from(vec![
        Span::styled(format!("{time} "), Style::new().add_modifier(Modifier::DIM)),
        Span::raw(format!("{name} ")),
        Span::styled(fill(&words, room), style),
    ])
}

fn words(what: &What, places: usize) -> (String, Style) {
    let price = |value: Option<_>| value.map_or("-".into(), |value| number::exact(value, places));
    match what {
        What::Trade {
            price: at,
            size,
            side,
        } => {
            let size = size.map_or("-".to_owned(), |size| size.to_string());
            let style = match side.as_str() {
                "buy" => Style::new().fg(Color::Green),
                "sell" => Style::new().fg(Color::Red),
                _ => Style::new(),
            };
            (format!("{side:4} {} x {size}", price(Some(*at))), style)
        }
        What::Quote { bid, ask } => (
            format!("bid  {} ask {}", price(*bid), price(*ask)),
            Style::new(),
        ),
        What::Note(title) => (title.clone(), Style::new().fg(Color::Yellow)),
    }
}

#[cfg(test)]
mod tests;
