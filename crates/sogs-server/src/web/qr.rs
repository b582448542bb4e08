//! The join link as a picture: SVG for the page, PNG for programs that want the reference's `invite.png`.

use qrcode::{EcLevel, QrCode};

/// Light border around the code, in modules: the standard asks for four.
const QUIET: usize = 4;

/// The modules of a QR code with its border.
pub struct Picture {
    /// Side length in modules, border included.
    pub side: usize,
    dark: Vec<bool>,
}

impl Picture {
    /// Encodes `text`; `None` when it is longer than a QR code can hold (about 2,300 bytes).
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let inner = code.width();
        let side = inner + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for (at, colour) in code.to_colors().into_iter().enumerate() {
            dark[(at / inner + QUIET) * side + at % inner + QUIET] = colour == qrcode::Color::Dark;
        }
        Some(Self { side, dark })
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.dark[y * self.side + x]
    }

    /// An SVG document without colours that depend on the page: a QR code must stay dark on light.
    pub fn svg(&self) -> String {
        use std::fmt::Write as _;
        let side = self.side;
        let mut path = String::new();
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    // Writing into a String cannot fail.
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
        )
    }

    /// A PNG with `scale` pixels per module, one bit per pixel.
    pub fn png(&self, scale: usize) -> Vec<u8> {
        let scale = scale.clamp(1, 16);
        let pixels = self.side * scale;
        let mut rows = Vec::with_capacity(pixels * (pixels / 8 + 2));
        for y in 0..pixels {
            // Filter type 0 starts each row.
            rows.push(0);
            for byte in 0..pixels.div_ceil(8) {
                let bits = (0..8).fold(0u8, |bits, bit| {
                    let x = byte * 8 + bit;
                    let light = x < pixels && !self.is_dark(x / scale, y / scale);
                    bits << 1 | u8::from(light)
                });
                rows.push(bits);
            }
        }
        let size = u32::try_from(pixels).unwrap_or(u32::MAX).to_be_bytes();
        let mut header = [size, size].concat();
        header.extend([1, 0, 0, 0, 0]);
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut png, *b"IHDR", &header);
        chunk(&mut png, *b"IDAT", &zlib_stored(&rows));
        chunk(&mut png, *b"IEND", &[]);
        png
    }
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let crc = crc32fast::hash(&png[start..]);
    png.extend(crc.to_be_bytes());
}

/// A zlib stream of stored blocks: the pictures are a few kilobytes, a compressor would be more code than it saves.
fn zlib_stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "http://sogs.example:8182/quiet?public_key=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn svg_and_png_show_the_same_modules() {
        let picture = Picture::of(LINK).expect("fits");
        let svg = picture.svg();
        assert!(svg.starts_with("<svg") && svg.contains("viewBox"));
        let png = picture.png(4);
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.ends_with(b"IEND\xaeB`\x82"));
        assert!(picture.is_dark(QUIET, QUIET), "the finder pattern starts dark");
        assert!(!picture.is_dark(0, 0), "the border is light");
    }

    #[test]
    fn too_long_a_link_has_no_picture() {
        assert!(Picture::of(&"x".repeat(5000)).is_none());
    }
}
