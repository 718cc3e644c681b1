//! Batch normalisation, its derivatives along a line, and the adjoints of both.

use std::sync::Arc;

use super::super::norm::{Along, EPSILON, Lines, Moments, Then};
use super::channels::{Last, Strips, elementwise};
use super::{doubles, known, like, of_dims, on, or_none};
use crate::ml::Result;
use crate::ml::card::Argument;
use crate::ml::tensor::{OnCard, Tensor};

/// What kernels read of each channel: weight, bias, mean and variance, in this order.
struct Normal<'a> {
    w: &'a OnCard,
    b: &'a OnCard,
    mean: &'a OnCard,
    variance: &'a OnCard,
    relu: Argument,
}

impl<'a> Normal<'a> {
    fn of(name: &'static str, x: &OnCard, [w, b]: [&'a OnCard; 2], moments: &'a Moments, then: Then) -> Result<Self> {
        let (mean, variance) = (known(name, &moments.mean, x)?, known(name, &moments.variance, x)?);
        Ok(Self { w, b, mean, variance, relu: Argument::U32(u32::from(then == Then::Relu)) })
    }

    fn arguments(&self) -> [Argument; 4] {
        [self.w, self.b, self.mean, self.variance].map(OnCard::argument)
    }

    /// ε, and whether a ReLU follows.
    fn last(&self) -> [Argument; 2] {
        [Argument::F64(EPSILON), self.relu]
    }
}

/// Mean and variance of each channel.
pub(in crate::ml::ops) fn moments(name: &'static str, x: &Tensor, sizes: [usize; 2]) -> Result<Moments> {
    let [x] = on(name, [x])?;
    let strips = Strips::of(sizes)?;
    let shares = strips.shares("spread", x, 2, &[x.argument()], &[])?;
    let (mean, variance) = (doubles(x, sizes[1])?, doubles(x, sizes[1])?);
    let arguments = [&mean, &variance, &shares, x].map(OnCard::argument);
    strips.finish("moments", x, &arguments, Last::All)?;
    Ok(Moments { mean: Tensor::Card(mean), variance: Tensor::Card(variance), count: sizes[0] })
}

/// The normalised batch.
pub(in crate::ml::ops) fn batch_norm(
    name: &'static str,
    [x, w, b]: [&Tensor; 3],
    sizes: [usize; 2],
    then: Then,
) -> Result<(Tensor, Arc<Moments>)> {
    let moments = moments(name, x, sizes)?;
    let [x, w, b] = on(name, [x, w, b])?;
    let by = Normal::of(name, x, [w, b], &moments, then)?;
    let out = like(x)?;
    let arguments = [&[out.argument(), x.argument()][..], &by.arguments(), &by.last()].concat();
    elementwise("normalise", sizes, x, &arguments)?;
    Ok((Tensor::Card(out), Arc::new(moments)))
}

/// The gradients in x, w and b.
pub(in crate::ml::ops) fn adjoint(
    name: &'static str,
    [g, x, w, b]: [&Tensor; 4],
    sizes: [usize; 2],
    moments: &Moments,
    then: Then,
) -> Result<[Tensor; 3]> {
    let [g, x, w, b] = on(name, [g, x, w, b])?;
    let by = Normal::of(name, x, [w, b], moments, then)?;
    let strips = Strips::of(sizes)?;
    let from = [&[g.argument(), x.argument()][..], &by.arguments()].concat();
    let shares = strips.shares("pull", x, 2, &from, &by.last())?;
    let (pulled, to_w, to_b) = (doubles(x, 2 * sizes[1])?, like(w)?, like(b)?);
    let tensors = [&pulled, &to_w, &to_b, &shares, by.variance].map(OnCard::argument);
    strips.finish("pulled", x, &[&tensors[..], &[Argument::F64(EPSILON)]].concat(), Last::Rows)?;
    let out = like(x)?;
    let arguments = [&[out.argument()][..], &from, &[pulled.argument()], &by.last()].concat();
    elementwise("push", sizes, x, &arguments)?;
    Ok([out, to_w, to_b].map(Tensor::Card))
}

/// y′ and, if it is asked for, y″.
pub(in crate::ml::ops) fn line(
    name: &'static str,
    [x, w, b]: [&Tensor; 3],
    sizes @ [_, channels]: [usize; 2],
    along: Along<'_>,
    (moments, then): (&Moments, Then),
    second: bool,
) -> Result<(Tensor, Option<Tensor>, Lines)> {
    let [x, w, b, x1] = on(name, [x, w, b, along.first])?;
    let beside = |tensor: Option<&'_ Tensor>| -> Result<Argument> {
        let Some(tensor) = tensor else { return Ok(Argument::Address(0)) };
        let [_, tensor] = on(name, [along.first, tensor])?;
        Ok(tensor.argument())
    };
    let x2 = beside(along.second.filter(|_| second))?;
    let by = Normal::of(name, x, [w, b], moments, then)?;
    let strips = Strips::of(sizes)?;
    let shares = strips.shares("along", x, 6, &[x.argument(), x1.argument(), x2, by.mean.argument()], &[])?;
    // The mean of x′ comes first, so that it is a view of the rest.
    let (line, variance1) = (of_dims(by.mean, &[6, channels])?, doubles(x, channels)?);
    let [w1, w2, b1, b2] = [along.weight[0], along.weight[1], along.bias[0], along.bias[1]].map(beside);
    let tensors = [line.argument(), variance1.argument(), shares.argument(), x1.argument(), x2, w.argument()];
    let rest = [w1?, w2?, b1?, b2?, by.variance.argument(), Argument::F64(EPSILON)];
    strips.finish("line", x, &[tensors, rest].concat(), Last::All)?;
    let (out, bent) = (like(x)?, if second { Some(like(x)?) } else { None });
    let tensors = [out.argument(), or_none(bent.as_ref()), x.argument(), x1.argument(), x2];
    let arguments = [&tensors[..], &by.arguments(), &[line.argument()], &by.last()].concat();
    elementwise("derive", sizes, x, &arguments)?;
    let mean = Tensor::Card(line).narrow(0, 0, 1)?.reshape(channels)?;
    Ok((Tensor::Card(out), bent.map(Tensor::Card), Lines { mean, variance: Tensor::Card(variance1) }))
}

/// The gradients of ⟨h, y′⟩ in x, x′, w, w′ and b′.
pub(in crate::ml::ops) fn first_adjoint(
    name: &'static str,
    [h, x, w, b]: [&Tensor; 4],
    sizes @ [_, channels]: [usize; 2],
    along: Along<'_>,
    (moments, lines): (&Moments, &Lines),
    then: Then,
) -> Result<[Tensor; 5]> {
    let [h, x, w, b, x1] = on(name, [h, x, w, b, along.first])?;
    let w1 = match along.weight[0] {
        Some(w1) => on(name, [along.first, w1])?[1].argument(),
        None => Argument::Address(0),
    };
    let (mean1, variance1) = (known(name, &lines.mean, x)?, known(name, &lines.variance, x)?);
    let by = Normal::of(name, x, [w, b], moments, then)?;
    let strips = Strips::of(sizes)?;
    let tensors = [h.argument(), x.argument(), x1.argument()];
    let from = [&tensors[..], &by.arguments(), &[mean1.argument()]].concat();
    let shares = strips.shares("pull_first", x, 3, &from, &by.last())?;
    let pulled = doubles(x, 4 * channels)?;
    let (to_w, to_w1, to_b1) = (like(w)?, like(w)?, like(w)?);
    let tensors = [&pulled, &to_w, &to_w1, &to_b1, &shares, w].map(OnCard::argument);
    let rest = [w1, by.variance.argument(), variance1.argument(), Argument::F64(EPSILON)];
    strips.finish("pulled_first", x, &[&tensors[..], &rest].concat(), Last::Rows)?;
    let (to_x, to_first) = (like(x)?, like(x)?);
    let outs = [to_x.argument(), to_first.argument()];
    elementwise("push_first", sizes, x, &[&outs[..], &from, &[pulled.argument()], &by.last()].concat())?;
    Ok([to_x, to_first, to_w, to_w1, to_b1].map(Tensor::Card))
}
