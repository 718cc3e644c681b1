//! Sums and products per channel of `[…, C]`.

use super::super::channels::rows;
use super::{counts, doubles, of_dims, on, or_none};
use crate::ml::Result;
use crate::ml::card::{Argument, Geometry};
use crate::ml::tensor::{OnCard, Tensor};

/// `kernel(x, c)`, where `c` has one value a channel.
pub(in crate::ml::ops) fn with_channels(operation: &'static str, x: &Tensor, c: &Tensor) -> Result<Tensor> {
    let sizes = rows(operation, x)?;
    let [x, c] = on(operation, [x, c])?;
    let out = of_dims(x, x.dims())?;
    elementwise(operation, sizes, x, &[out.argument(), x.argument(), c.argument()])?;
    Ok(Tensor::Card(out))
}

/// `c` repeated to `dims`.
pub(in crate::ml::ops) fn broadcast(operation: &'static str, c: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let [c] = on(operation, [c])?;
    let out = of_dims(c, dims)?;
    let channels = c.count() as usize;
    elementwise(operation, [out.count() as usize / channels, channels], c, &[out.argument(), c.argument()])?;
    Ok(Tensor::Card(out))
}

/// Σ x·y of each channel, or Σ x.
pub(in crate::ml::ops) fn dot(operation: &'static str, x: &Tensor, y: Option<&Tensor>) -> Result<Tensor> {
    let sizes = rows(operation, x)?;
    let [x, y] = match y {
        Some(y) => on(operation, [x, y])?.map(Some),
        None => [Some(on(operation, [x])?[0]), None],
    };
    let x = x.expect("the first operand is always there");
    let strips = Strips::of(sizes)?;
    let shares = strips.shares("dot_channels", x, 1, &[x.argument(), or_none(y)], &[])?;
    let out = of_dims(x, &[sizes[1]])?;
    strips.finish("sum_strips", x, &[out.argument(), shares.argument()], Last::Channels)?;
    Ok(Tensor::Card(out))
}

/// Over elements of `[rows, channels]`; both are the last arguments.
pub(super) fn elementwise(operation: &str, sizes: [usize; 2], x: &OnCard, arguments: &[Argument]) -> Result<()> {
    let [rows, channels] = counts(sizes)?;
    let arguments = [arguments, &[rows, channels].map(Argument::U32)].concat();
    Ok(x.card().launch(&x.kernel(operation), Geometry::rows(rows, channels), &arguments)?)
}

/// How sums over the rows of `[rows, channels]` are cut.
pub(super) struct Strips {
    rows: u32,
    channels: u32,
    together: u32,
    geometry: Geometry,
}

/// Which sizes a kernel takes last that puts shares together.
#[derive(Clone, Copy)]
pub(super) enum Last {
    /// Channels and strips.
    Channels,
    /// Rows, channels and strips.
    Rows,
    /// Rows, channels, rows of a strip and strips.
    All,
}

impl Strips {
    pub(super) fn of(sizes: [usize; 2]) -> Result<Self> {
        let [rows, channels] = counts(sizes)?;
        let (geometry, together) = Geometry::strips(rows, channels);
        Ok(Self { rows, channels, together, geometry })
    }

    /// The shares of `sums` sums a channel. The kernel takes their room, `from`, `with`, and the sizes.
    pub(super) fn shares(
        &self,
        kernel: &str,
        x: &OnCard,
        sums: usize,
        from: &[Argument],
        with: &[Argument],
    ) -> Result<OnCard> {
        let shares = doubles(x, self.geometry.grid[1] as usize * sums * self.channels as usize)?;
        let sizes = [self.rows, self.channels, self.together].map(Argument::U32);
        let arguments = [&[shares.argument()], from, with, &sizes].concat();
        x.card().launch(&x.kernel(kernel), self.geometry, &arguments)?;
        Ok(shares)
    }

    /// A kernel of one thread a channel that puts shares together.
    pub(super) fn finish(&self, kernel: &str, x: &OnCard, arguments: &[Argument], last: Last) -> Result<()> {
        let strips = self.geometry.grid[1];
        let sizes = match last {
            Last::Channels => vec![self.channels, strips],
            Last::Rows => vec![self.rows, self.channels, strips],
            Last::All => vec![self.rows, self.channels, self.together, strips],
        };
        let arguments: Vec<Argument> = arguments.iter().copied().chain(sizes.into_iter().map(Argument::U32)).collect();
        Ok(x.card().launch(&x.kernel(kernel), Geometry::over(self.channels), &arguments)?)
    }
}
