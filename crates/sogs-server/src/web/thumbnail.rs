//! Small versions of uploaded pictures for the pages.
//!
//! A picture is decoded only if its kind, its size and the memory that decoding takes are within limits; otherwise it has
//! no small version. The small version is encoded anew, so it carries no metadata (camera, place, comments).

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder as _, ImageFormat, ImageReader, Limits};

/// Longest side of a small version, in pixels.
const SIDE: u32 = 480;
/// The largest file that is decoded, in bytes.
pub(crate) const MAX_BYTES: u64 = 12 << 20;
/// The largest picture that is decoded, in pixels.
const MAX_PIXELS: u64 = 16_000_000;
/// Memory that decoding may take, in bytes.
const MAX_MEMORY: u64 = 48 << 20;
/// Memory that must be left for everything else while a picture is decoded, in bytes.
const SPARE_MEMORY: u64 = 32 << 20;
/// Longest side that is decoded, in pixels.
const MAX_SIDE: u32 = 20_000;
/// Longest time that decoding may take.
const MAX_TIME: Duration = Duration::from_secs(5);
/// Pixels that a JPEG decodes over all its scans: 16 megapixels in 20 scans. Apps and cameras write about ten.
const MAX_SCANNED: u64 = 20 * MAX_PIXELS;
/// Quality of JPEG, in percent.
const QUALITY: u8 = 80;

/// Small version of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Small {
    /// A JPEG, or a PNG if parts of the picture are transparent.
    pub(crate) bytes: Vec<u8>,
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
}

/// A picture in memory that cannot be read any more after a point in time: decoders read while they decode.
struct Timed<'a> {
    bytes: Cursor<&'a [u8]>,
    until: Instant,
}

impl Timed<'_> {
    fn check(&self) -> std::io::Result<()> {
        if Instant::now() >= self.until {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.check()?;
        self.bytes.read(out)
    }
}

impl BufRead for Timed<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.check()?;
        // The picture is read in pieces, so that the time is checked while a decoder reads them.
        let piece = self.bytes.fill_buf()?;
        Ok(piece.get(..PIECE).unwrap_or(piece))
    }

    fn consume(&mut self, bytes: usize) {
        self.bytes.consume(bytes);
    }
}

impl Seek for Timed<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// Bytes that a decoder gets at a time.
const PIECE: usize = 64 * 1024;

/// Returns the small version of a picture; `None` for what is not a picture of a known kind, cannot be decoded, or is
/// beyond the limits.
pub(crate) fn small(bytes: &[u8]) -> Option<Small> {
    small_until(bytes, Instant::now() + MAX_TIME)
}

fn small_until(bytes: &[u8], until: Instant) -> Option<Small> {
    if bytes.len() as u64 > MAX_BYTES {
        return None;
    }
    let format = match super::picture_type(bytes)? {
        "image/png" => ImageFormat::Png,
        "image/jpeg" => ImageFormat::Jpeg,
        "image/gif" => ImageFormat::Gif,
        "image/webp" => ImageFormat::WebP,
        _ => return None,
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    let bytes_in_time = Timed {
        bytes: Cursor::new(bytes),
        until,
    };
    let mut reader = ImageReader::with_format(bytes_in_time, format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return None;
    }
    // The decoder of JPEG has all bytes from the start, so the time does not stop it; the number of scans does.
    if format == ImageFormat::Jpeg && pixels.saturating_mul(scans(bytes)) > MAX_SCANNED {
        return None;
    }
    let per_pixel = decoder.total_bytes().div_ceil(pixels) + working_bytes(format, bytes);
    if pixels.saturating_mul(per_pixel) > MAX_MEMORY {
        return None;
    }
    if !is_available(pixels.saturating_mul(per_pixel) + SPARE_MEMORY) {
        tracing::warn!("too little memory for the small version of a picture");
        return None;
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).ok()?;
    let mut small = if width > SIDE || height > SIDE {
        picture.thumbnail(SIDE, SIDE)
    } else {
        picture
    };
    small.apply_orientation(orientation);
    encode(&small)
}

/// Returns true if this many bytes of memory are available. A decoder that cannot allocate would end the process.
fn is_available(bytes: u64) -> bool {
    let mut probe = Vec::<u8>::new();
    usize::try_from(bytes).is_ok_and(|bytes| probe.try_reserve_exact(bytes).is_ok())
}

/// Bytes that a decoder holds for each pixel beside its result.
fn working_bytes(format: ImageFormat, bytes: &[u8]) -> u64 {
    match format {
        // The canvas of an animation; planes of lossy pictures, or the transformed pixels of lossless ones.
        ImageFormat::Gif | ImageFormat::WebP => 4,
        ImageFormat::Jpeg if is_progressive(bytes) => 6,
        _ => 0,
    }
}

/// Returns true if a JPEG is progressive: all of its coefficients are then in memory at once.
fn is_progressive(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, kind, high, low]) = bytes.get(at..at + 4) {
        match kind {
            // Padding between segments.
            0xff => at += 1,
            0xc2 | 0xc6 | 0xca | 0xce => return true,
            // Start of a baseline picture, or of its data.
            0xc0 | 0xc1 | 0xda => return false,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    // No start of a picture was found: the larger amount of memory is assumed.
    true
}

/// Scans of a JPEG: each goes over all pixels. A marker does not occur inside the data of a scan.
fn scans(bytes: &[u8]) -> u64 {
    bytes.windows(2).filter(|pair| *pair == [0xff, 0xda]).count() as u64
}

fn encode(small: &DynamicImage) -> Option<Small> {
    let (width, height) = (small.width(), small.height());
    let mut bytes = Vec::new();
    let is_transparent =
        small.color().has_alpha() && small.to_rgba8().pixels().any(|pixel| pixel.0[3] != u8::MAX);
    if is_transparent {
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
            .write_image(&small.to_rgba8(), width, height, image::ExtendedColorType::Rgba8)
            .ok()?;
    } else {
        JpegEncoder::new_with_quality(&mut bytes, QUALITY)
            .write_image(&small.to_rgb8(), width, height, image::ExtendedColorType::Rgb8)
            .ok()?;
    }
    Some(Small { bytes, width, height })
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        picture.write_to(&mut out, format).expect("encoded");
        out.into_inner()
    }

    fn shade(at: u32) -> u8 {
        u8::try_from(at % 256).expect("small")
    }

    fn gradient(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([shade(x), shade(y), 90])).into()
    }

    #[test]
    fn every_kind_becomes_small_and_keeps_its_shape() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::WebP,
        ] {
            let made = small(&encoded(&gradient(960, 320), format)).expect("a small version");
            assert_eq!((made.width, made.height), (480, 160), "{format:?}");
            assert!(made.bytes.starts_with(&[0xff, 0xd8]), "{format:?}");
        }
        let tiny = small(&encoded(&gradient(30, 20), ImageFormat::Png)).expect("a small version");
        assert_eq!((tiny.width, tiny.height), (30, 20), "nothing is enlarged");
    }

    #[test]
    fn transparency_stays() {
        let picture: DynamicImage = RgbaImage::from_pixel(600, 600, Rgba([9, 9, 9, 100])).into();
        let made = small(&encoded(&picture, ImageFormat::Png)).expect("a small version");
        assert_eq!(super::super::picture_type(&made.bytes), Some("image/png"));
    }

    #[test]
    fn metadata_goes_and_a_turned_camera_is_followed() {
        // A JPEG whose EXIF says: turned by 90 degrees, with a place in it.
        let plain = encoded(&gradient(800, 400), ImageFormat::Jpeg);
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        exif.extend_from_slice(b"GPS 52.5200 13.4050");
        let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
        let mut bytes = plain[..2].to_vec();
        bytes.extend([0xff, 0xe1, length[0], length[1]]);
        bytes.extend(&exif);
        bytes.extend(&plain[2..]);
        let made = small(&bytes).expect("a small version");
        assert_eq!((made.width, made.height), (240, 480));
        assert!(!made.bytes.windows(3).any(|part| part == b"GPS"));
        assert!(!made.bytes.windows(4).any(|part| part == b"Exif"));
    }

    /// A PNG that says it is as large as this, without data.
    fn claimed(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = encoded(&gradient(1, 1), ImageFormat::Png);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32fast::hash(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&crc);
        bytes
    }

    #[test]
    fn pictures_beyond_the_limits_have_no_small_version() {
        for (width, height) in [
            (60_000, 60_000),
            (5000, 5000),
            (u32::MAX, 1),
            (20_001, 1),
            (1, 20_001),
        ] {
            assert_eq!(small(&claimed(width, height)), None, "{width}×{height}");
        }
        assert_eq!(small(b"\x89PNG\r\n\x1a\n"), None);
        assert_eq!(small(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), None);
        let mut cut = encoded(&gradient(500, 500), ImageFormat::Png);
        cut.truncate(cut.len() / 2);
        assert_eq!(small(&cut), None);
    }

    #[test]
    fn decoding_ends_when_its_time_is_over() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::WebP,
        ] {
            let picture = encoded(&gradient(960, 320), format);
            assert_eq!(small_until(&picture, Instant::now()), None, "{format:?}");
            assert!(small(&picture).is_some(), "{format:?}");
        }
    }

    #[test]
    fn a_jpeg_of_very_many_scans_is_not_decoded() {
        let picture = encoded(&gradient(2000, 2000), ImageFormat::Jpeg);
        assert_eq!(scans(&picture), 1);
        assert!(small(&picture).is_some());
        let at = picture
            .windows(2)
            .position(|pair| pair == [0xff, 0xda])
            .expect("a scan");
        let mut many = picture.clone();
        for _ in 0..100 {
            many.splice(
                many.len() - 2..many.len() - 2,
                picture[at..picture.len() - 2].iter().copied(),
            );
        }
        assert_eq!(scans(&many), 101);
        assert_eq!(small(&many), None);
    }

    #[test]
    fn progressive_pictures_are_told_by_their_header() {
        let baseline = encoded(&gradient(64, 64), ImageFormat::Jpeg);
        assert!(!is_progressive(&baseline));
        let at = baseline
            .windows(2)
            .position(|part| part == [0xff, 0xc0])
            .expect("a header");
        let mut progressive = baseline;
        progressive[at + 1] = 0xc2;
        assert!(is_progressive(&progressive) && is_progressive(b"\xff\xd8"));
    }
}
