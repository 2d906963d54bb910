//! Images of its own: good ones, and such as somebody uploads who means no good.

use std::io::Cursor;
use std::path::Path;

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, RgbImage};
use watertight::prelude::*;

use crate::runs::{self, Written};

/// Sides of the good ones. Some are larger than a screen, most are not.
const SIZES: [(u32, u32); 6] = [(1, 1), (64, 48), (320, 240), (640, 480), (1024, 768), (1920, 1280)];

/// Writes all of them. The names of the bad ones begin with `bad-`.
///
/// # Errors
/// No room, or an encoder that fails.
pub fn make(folder: &Path) -> Result<()> {
    let write = |name: String, bytes: &[u8]| std::fs::write(folder.join(name), bytes);
    for (n, (width, height)) in (1_u8..).zip(SIZES) {
        let picture = picture(width, height, n);
        write(format!("good-{n}.png"), &encoded(&picture, ImageFormat::Png)?)?;
        write(format!("good-{n}.jpg"), &encoded(&picture, ImageFormat::Jpeg)?)?;
    }
    write("good-7.gif".into(), &animation()?)?;
    write(
        "good-8.runs".into(),
        &runs::encode(&Written { width: 300, height: 200, palette: None, length: 7 }),
    )?;

    let png = encoded(&picture(320, 240, 9), ImageFormat::Png)?;
    write("bad-text.png".into(), b"<svg>this is no picture that anybody here can read</svg>")?;
    write("bad-truncated.png".into(), &png[..png.len() / 2])?;
    write("bad-flipped.png".into(), &flipped(png))?;
    write("bad-bomb.gif".into(), &gif(u16::MAX, 1))?;
    write("bad-endless.gif".into(), &gif(2_000, 200_000))?;
    let stripes = Written { width: 300, height: 200, palette: None, length: 7 };
    write("bad-segfault.runs".into(), &runs::encode(&Written { palette: Some(u32::MAX), ..stripes }))?;
    write("bad-abort.runs".into(), &runs::encode(&Written { width: 0, ..stripes }))?;
    write("bad-loop.runs".into(), &runs::encode(&Written { length: 0, ..stripes }))?;
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // A part of 255.
fn picture(width: u32, height: u32, n: u8) -> DynamicImage {
    let colour = |x: u32, y: u32| [(x * 255 / width) as u8, (y * 255 / height) as u8, n.wrapping_mul(40)];
    RgbImage::from_fn(width, height, |x, y| image::Rgb(colour(x, y))).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), format)?;
    Ok(bytes)
}

fn animation() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let frames = (0..3).map(|n| Frame::new(picture(40, 30, n).into_rgba8()));
    // The speed at which it looks for the fewest colours: these have few.
    GifEncoder::new_with_speed(&mut bytes, 30).encode_frames(frames)?;
    Ok(bytes)
}

/// One bit in the middle of the pixels is another.
fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes
}

/// A square with so long a side, and so many frames of a single pixel: a decoder that builds each frame has to copy all
/// the others. A side of 65,535 is 17 GB of pixels in 35 bytes.
fn gif(side: u16, frames: usize) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend(side.to_le_bytes());
    bytes.extend(side.to_le_bytes());
    // Two colours, black and white; no aspect ratio.
    bytes.extend([0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
    // At 0, 0; 1 x 1 pixel; its codes begin with 2 bits: clear, white, end.
    let frame = [0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 0x01, 0];
    bytes.extend(frame.repeat(frames));
    bytes.push(0x3b);
    bytes
}
