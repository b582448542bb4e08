//! QR codes in a terminal.

use anstyle::{AnsiColor, Color, Style};
use qrcode::{EcLevel, QrCode};

/// Light border around the code, in modules: the standard asks for four.
const QUIET: usize = 4;
/// Dark on light, as cameras expect it, whatever the colours of the terminal are.
const PAPER: Style = Style::new()
    .fg_color(Some(Color::Ansi(AnsiColor::Black)))
    .bg_color(Some(Color::Ansi(AnsiColor::BrightWhite)));

/// Returns the lines of a QR code, two rows of modules in each; empty if the text is too long for one.
pub(super) fn lines(text: &str) -> Vec<String> {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else {
        return Vec::new();
    };
    let inner = code.width();
    let side = inner + 2 * QUIET;
    let colours = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let (Some(x), Some(y)) = (x.checked_sub(QUIET), y.checked_sub(QUIET)) else {
            return false;
        };
        x < inner && y < inner && colours[y * inner + x] == qrcode::Color::Dark
    };
    let row = |y: usize| {
        let modules: String = (0..side)
            .map(|x| match (is_dark(x, y), is_dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect();
        format!("{PAPER}{modules}{PAPER:#}")
    };
    (0..side).step_by(2).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_corners_and_a_border() {
        let lines: Vec<String> = lines("xmpp:jane@example.org?omemo-sid-1=00")
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        let width = lines[0].chars().count();
        assert_eq!(width.div_ceil(2), lines.len());
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert!(
            lines[0].trim().is_empty() && lines[1].trim().is_empty(),
            "the border"
        );
        assert!(lines[2].starts_with("    █▀▀▀▀▀█"), "{}", lines[2]);
        assert!(lines[2].ends_with("█▀▀▀▀▀█    "), "{}", lines[2]);
    }

    #[test]
    fn a_text_that_is_too_long_has_no_code() {
        assert!(lines(&"x".repeat(4000)).is_empty());
    }
}
