//! A picture as PNG.

use super::canvas::Picture;
use super::error::{Error, Result};
use super::raster::Raster;
use super::theme::UNITS_PER_INCH;

impl Picture {
    /// The picture as PNG, eight bits for each of red, green and blue, at `dots_per_inch`, which the file also says.
    ///
    /// # Errors
    ///
    /// [`Error::Resolution`] if `dots_per_inch` is not between 20 and 2400.
    pub fn to_png(&self, dots_per_inch: u32) -> Result<Vec<u8>> {
        if !(20..=2400).contains(&dots_per_inch) {
            return Err(Error::Resolution { dots_per_inch });
        }
        let dots = |millimetres: f64| (millimetres / 25.4 * f64::from(dots_per_inch)).round().max(1.0) as usize;
        let (width, height) = (dots(self.width_mm), dots(self.height_mm));
        let mut raster = Raster::white(width, height, f64::from(dots_per_inch) / UNITS_PER_INCH);
        for shape in &self.shapes {
            raster.draw(shape);
        }
        encode(&raster, dots_per_inch)
    }
}

fn encode(raster: &Raster, dots_per_inch: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, raster.width as u32, raster.height as u32);
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    let per_metre = (f64::from(dots_per_inch) / 0.0254).round() as u32;
    let unit = ::png::Unit::Meter;
    encoder.set_pixel_dims(Some(::png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&raster.pixels)?;
    writer.finish()?;
    Ok(bytes)
}
