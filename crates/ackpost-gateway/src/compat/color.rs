//! Colours that programs give to messages: green is good, red is bad.

use ackpost_notify::Kind;

/// Returns the kind of a colour: a word of Slack, or `#rrggbb`.
pub(crate) fn kind(text: &str) -> Kind {
    match text.trim().to_ascii_lowercase().as_str() {
        "good" | "green" => Kind::Success,
        "warning" | "yellow" | "orange" => Kind::Warning,
        "danger" | "red" => Kind::Failure,
        other => {
            let digits = other.trim_start_matches('#');
            let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6);
            number.map_or(Kind::Info, of_number)
        }
    }
}

/// Returns the kind of a colour given as `0xrrggbb`.
pub(crate) fn of_number(number: u32) -> Kind {
    let [_, red, green, blue] = number.to_be_bytes().map(i32::from);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let spread = most - least;
    // Grey and nearly grey.
    if spread * 4 < most || most < 32 {
        return Kind::Info;
    }
    let hue = if most == red {
        60 * (green - blue) / spread
    } else if most == green {
        120 + 60 * (blue - red) / spread
    } else {
        240 + 60 * (red - green) / spread
    };
    match hue {
        -20..=18 => Kind::Failure,
        19..=68 => Kind::Warning,
        69..=170 => Kind::Success,
        _ => Kind::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_known_programs() {
        for (number, expected) in [
            (4_089_856, Kind::Success),  // Sonarr, upgraded
            (2_605_644, Kind::Success),  // Sonarr, imported
            (15_749_200, Kind::Failure), // Sonarr, failed
            (16_753_920, Kind::Warning), // orange
            (16_766_720, Kind::Warning), // gold
            (0x0034_98db, Kind::Info),   // blue
            (0, Kind::Info),
            (0x00ff_ffff, Kind::Info),
        ] {
            assert_eq!(of_number(number), expected, "{number}");
        }
        assert_eq!(kind("#36a64f"), Kind::Success);
        assert_eq!(kind("danger"), Kind::Failure);
        assert_eq!(kind("#xyzxyz"), Kind::Info);
    }
}
