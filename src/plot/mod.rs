//! Tables to pictures: figures as SVG and PNG, the same on every machine.
//!
//! A [`Figure`] is plain data. [`Figure::draw`] lays it out and draws it once, through plotters' areas, coordinates and
//! elements, onto a fine canvas: a plotters backend that records shapes at 7,200 units to the inch. [`Picture::to_svg`]
//! and [`Picture::to_png`] write that one list of shapes out, so that both show the same. Text is drawn as the outlines
//! of a bundled font and no transcendental function of the platform is called, so that the bytes depend on nothing but
//! the figure.
//!
//! The room knows nothing of studies, stages or the cache: who has a table and a wish makes a [`Figure`].
//!
//! In reading order: `figure` and `series` (what is to be drawn), `theme` (how it looks), `data` (what of it can be
//! drawn), `view` and `ticks` (axes), `arrange` and `place` (where labels, legend and inset go), `render`, `panel`,
//! `trace` and `legend` (the drawing), `easel` (the few strokes they need, over plotters), `path` (clipping and dashes),
//! `canvas` (the recording backend), `font`, `svg`, `png` with `raster`, and beside all that `table` (columns as CSV) and `error`.

mod arrange;
mod canvas;
mod data;
mod easel;
mod error;
mod figure;
mod font;
mod legend;
mod panel;
mod path;
mod place;
mod png;
mod raster;
mod render;
mod series;
mod svg;
pub mod table;
#[cfg(test)]
mod tests;
mod theme;
mod ticks;
mod trace;
mod view;

pub use canvas::Picture;
pub use error::{Error, Result, Warning};
pub use figure::{Axis, Corner, Figure, Inset, Legend, Mark, Panel, Placement, Position, Scale};
pub use figure::{DOUBLE_COLUMN_MM, SINGLE_COLUMN_MM};
pub use series::{Color, Marker, Series, Style};
pub use table::{Cell, Column, Table};
