//! The terminal: drawn a few times a second, resized as it comes, and left as it was found.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use runtime::clock;
use runtime::service::Shutdown;

use super::draw;
use super::figures::{SharedBoard, on};

/// How often the screen is drawn; a key is heard at once.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// Shows the board until the user has seen enough, or the shutdown.
///
/// The terminal is given back as it was, after a panic anywhere as well: taking it sets a hook that
/// gives it back before the panic is told.
///
/// # Errors
/// When there is no terminal, or it is gone.
pub fn show(board: &SharedBoard, shutdown: &Shutdown) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = turn(&mut terminal, board, shutdown);
    ratatui::try_restore()?;
    shown
}

fn turn(
    terminal: &mut ratatui::DefaultTerminal,
    board: &SharedBoard,
    shutdown: &Shutdown,
) -> io::Result<()> {
    while !shutdown.is_requested() {
        // A copy, so that nobody waits for a slow terminal.
        let seen = on(board, |board| board.clone());
        terminal.draw(|frame| draw::draw(frame, &seen, clock::now_ms()))?;
        if event::poll(DRAWN_EVERY)?
            && let Event::Key(key) = event::read()?
            && is_farewell(&key)
        {
            return Ok(());
        }
    }
    Ok(())
}

fn is_farewell(key: &KeyEvent) -> bool {
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_quit = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (is_quit || is_interrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_keys_end_it() {
        let key = |code, modifiers| is_farewell(&KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
