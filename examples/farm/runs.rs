//! A decoder of run-length images, written as too many C libraries are: it trusts what it reads.
//!
//! ```text
//! "RUNS"  width u16  height u16  offset of the palette u32  { length u8, colour u8 }…  256 greys
//! ```

// It follows a pointer out of the file, which is its bug, and must be no more than a worker's.
#![allow(unsafe_code)]

use image::{DynamicImage, GrayImage};

/// What such a file begins with.
pub const MAGIC: [u8; 4] = *b"RUNS";
/// Where the runs begin.
const HEADER: usize = 12;

/// Decodes one. It reads wild memory, aborts, or never returns, if the file wants that.
pub fn decode(bytes: &[u8]) -> Option<DynamicImage> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    let (width, rest) = rest.split_first_chunk::<2>()?;
    let (height, rest) = rest.split_first_chunk::<2>()?;
    let (offset, _) = rest.split_first_chunk::<4>()?;
    let (width, height) = (u16::from_le_bytes(*width), u16::from_le_bytes(*height));
    if width == 0 || height == 0 {
        // As `assert` of C does.
        eprintln!("runs.c:31: decode: assertion `width > 0 && height > 0' failed");
        std::process::abort();
    }
    let palette = bytes.as_ptr().wrapping_add(u32::from_le_bytes(*offset) as usize);
    let pixels = usize::from(width) * usize::from(height);
    let mut image = Vec::with_capacity(pixels);
    let mut at = HEADER;
    while image.len() < pixels {
        let (&length, &colour) = (bytes.get(at)?, bytes.get(at + 1)?);
        // SAFETY: none; the offset may lead anywhere. In a file that is as it should be, it leads to 256 bytes of it.
        let grey = unsafe { palette.wrapping_add(usize::from(colour)).read_volatile() };
        let length = usize::from(length).min(pixels - image.len());
        image.resize(image.len() + length, grey);
        // It goes on to the next run when this one has given something: one of nothing is read for ever.
        at += if length > 0 { 2 } else { 0 };
    }
    GrayImage::from_raw(width.into(), height.into(), image).map(DynamicImage::from)
}

/// What to write into a file.
pub struct Written {
    pub width: u16,
    pub height: u16,
    /// Where the palette is said to be; `None` where it is.
    pub palette: Option<u32>,
    /// In every run.
    pub length: u8,
}

/// Writes one, in grey stripes.
pub fn encode(written: &Written) -> Vec<u8> {
    let pixels = usize::from(written.width) * usize::from(written.height);
    let runs = pixels.div_ceil(usize::from(written.length.max(1)));
    let palette = HEADER + 2 * runs;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(written.width.to_le_bytes());
    bytes.extend(written.height.to_le_bytes());
    bytes.extend(written.palette.unwrap_or(u32::try_from(palette).unwrap_or(u32::MAX)).to_le_bytes());
    bytes.extend((0..=u8::MAX).cycle().take(runs).flat_map(|colour| [written.length, colour]));
    bytes.extend(0..=u8::MAX);
    bytes
}
