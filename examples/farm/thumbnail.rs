//! What a worker does: reads an image with whatever decoder it needs, and makes it small.

use std::ffi::OsString;
use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, DynamicImage, ImageFormat, ImageReader};
use serde::{Deserialize, Serialize};

use crate::runs;

/// One image, and how large its thumbnail may be.
#[derive(Serialize, Deserialize)]
pub struct Job {
    /// In the operating system's own letters, so that every name travels.
    pub path: OsString,
    pub size: u32,
}

/// A thumbnail.
#[derive(Serialize, Deserialize)]
pub struct Thumbnail {
    /// Of the image.
    pub width: u32,
    pub height: u32,
    pub png: Vec<u8>,
}

/// Makes one.
///
/// # Errors
/// What is wrong with the image, if its decoder is one that can tell.
pub fn make(job: Job) -> Result<Thumbnail, String> {
    let bytes = std::fs::read(&job.path).map_err(|error| format!("it could not be read: {error}"))?;
    let image = decode(&bytes)?;
    let small = image.thumbnail(job.size, job.size).into_rgba8();
    let mut png = Vec::new();
    small.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(|error| error.to_string())?;
    Ok(Thumbnail { width: image.width(), height: image.height(), png })
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    if bytes.starts_with(&runs::MAGIC) {
        return runs::decode(bytes).ok_or_else(|| "no image".to_owned());
    }
    let format = image::guess_format(bytes).map_err(|error| error.to_string())?;
    if format == ImageFormat::Gif {
        return last_frame(bytes).map_err(|error| error.to_string());
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Its limits would refuse what is too large. A library that has none is what this example is about.
    reader.no_limits();
    reader.decode().map_err(|error| error.to_string())
}

/// An animation is known by its last frame, which may be built on all before it.
fn last_frame(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut last = DynamicImage::default();
    for frame in GifDecoder::new(Cursor::new(bytes))?.into_frames() {
        last = frame?.into_buffer().into();
    }
    Ok(last)
}
