//! A symmetric matrix made tridiagonal in two stages, in f64 (Bischof, Lang and Sun 2000): to a band of `BAND` below the
//! diagonal by blocks of reflections, nearly all of it products of matrices; then the band column by column, chasing what
//! each reflection pushes out of it (Lang 1993). One stage, as LAPACK's, reads the whole rest of the matrix for each column
//! and waits for memory. Eigenvalues stay; the reflections are not kept. The tiles, and so the bytes, are the same for
//! any number of threads.

use super::matmul::{Matrix, product, product_in_rows};
use super::{lanes, tiles};
use crate::ml::{Error, Result};

/// Width of the band below the diagonal. A wider one spares passes over the matrix and costs more in the second stage.
const BAND: usize = 48;

/// Rows of the matrix in a tile.
const ROWS: usize = 256;

/// The diagonal and what is below it, n and n − 1 long, of a tridiagonal matrix that has the eigenvalues of the symmetric
/// matrix of `n` rows in `values`.
///
/// # Errors
/// [`Error::Shape`] unless there are n² values; what `poll` says, which is asked every few columns whether to go on.
pub fn tridiagonal(mut values: Vec<f64>, n: usize, poll: impl Fn() -> Result<()>) -> Result<(Vec<f64>, Vec<f64>)> {
    if n.checked_mul(n) != Some(values.len()) {
        return Err(Error::Shape {
            operation: "tridiagonal",
            expected: format!("the elements of a matrix of {n} rows and as many columns"),
            found: format!("{} elements", values.len()),
        });
    }
    let mut column = 0;
    while column + BAND + 1 < n {
        poll()?;
        reduce_panel(&mut values, n, column);
        column += BAND;
    }
    let mut band = Band::of(&values, n);
    drop(values);
    let last = n.saturating_sub(2);
    for first in (0..last).step_by(BAND) {
        poll()?;
        lanes::run(|| (first..last.min(first + BAND)).for_each(|column| band.chase(column)));
    }
    let below = (0..n.saturating_sub(1)).map(|i| band.at(i + 1, i)).collect();
    Ok(((0..n).map(|i| band.at(i, i)).collect(), below))
}

/// Reflections as `I − VTVᵀ`; V is stored column by column.
struct Block {
    m: usize,
    v: Vec<f64>,
    t: Vec<f64>,
}

impl Block {
    fn v(&self) -> Matrix<'_, f64> {
        Matrix::rows(&self.v, BAND, self.m).transposed()
    }

    fn t(&self) -> Matrix<'_, f64> {
        Matrix::rows(&self.t, BAND, BAND)
    }
}

/// Makes columns `column..column + BAND` zero below the band, and puts what this makes of the rest in its place.
fn reduce_panel(values: &mut [f64], n: usize, column: usize) {
    let first = column + BAND;
    let m = n - first;
    let mut panel: Vec<f64> =
        (0..BAND).flat_map(|j| (first..n).map(move |i| (i, column + j))).map(|(i, j)| values[i * n + j]).collect();
    let block = lanes::run(|| triangular(&mut panel, m));
    for j in 0..BAND {
        for i in 0..m {
            values[(first + i) * n + column + j] = if i <= j { panel[j * m + i] } else { 0.0 };
        }
    }
    // X = AVT, S = TᵀVᵀX, W = X − ½VS; then A − VWᵀ − WVᵀ is (I − VTᵀVᵀ)A(I − VTVᵀ).
    let mut av = vec![0.0; m * BAND];
    let rest = &values[first * n..];
    tiles::change(&mut av, ROWS * BAND, 2 * m * m * BAND, |index, tile| {
        let rows = tile.len() / BAND;
        let left = Matrix { values: &rest[index * ROWS * n + first..], size: (rows, m), strides: (n, 1) };
        product(tile, left, block.v(), false);
    });
    let mut x = vec![0.0; m * BAND];
    product(&mut x, Matrix::rows(&av, m, BAND), block.t(), false);
    let (mut vx, mut s) = (vec![0.0; BAND * BAND], vec![0.0; BAND * BAND]);
    product(&mut vx, block.v().transposed(), Matrix::rows(&x, m, BAND), false);
    product(&mut s, block.t().transposed(), Matrix::rows(&vx, BAND, BAND), false);
    for s in &mut s {
        *s *= -0.5;
    }
    product(&mut x, block.v(), Matrix::rows(&s, BAND, BAND), true);
    // Both products at once, of m × 2·BAND: −[V W] by [W V]ᵀ.
    let (mut left, mut right) = (vec![0.0; 2 * m * BAND], vec![0.0; 2 * m * BAND]);
    for i in 0..m {
        for j in 0..BAND {
            let (v, w) = (block.v[j * m + i], x[i * BAND + j]);
            let at = 2 * i * BAND + j;
            (left[at], left[at + BAND]) = (-v, -w);
            (right[at], right[at + BAND]) = (w, v);
        }
    }
    let right = Matrix::rows(&right, m, 2 * BAND).transposed();
    tiles::change(&mut values[first * n..], ROWS * n, 4 * m * m * BAND, |index, tile| {
        let rows = tile.len() / n;
        let left = Matrix::rows(&left[2 * index * ROWS * BAND..2 * (index * ROWS + rows) * BAND], rows, 2 * BAND);
        product_in_rows((&mut tile[first..], n), left, right, true);
    });
}

/// The panel (column by column, m long each) made upper triangular by reflections from the left.
#[inline(always)]
fn triangular(panel: &mut [f64], m: usize) -> Block {
    let mut block = Block { m, v: vec![0.0; BAND * m], t: vec![0.0; BAND * BAND] };
    for j in 0..BAND.min(m) {
        let (done, rest) = panel.split_at_mut((j + 1) * m);
        let x = &mut done[j * m + j..];
        let (v, tau) = reflection(x);
        for column in rest.chunks_exact_mut(m) {
            reflect(&mut column[j..], &v, tau);
        }
        block.v[j * m + j..(j + 1) * m].copy_from_slice(&v);
        // T grows by a column: −τ T (Vᵀv), and τ on the diagonal (Schreiber and Van Loan 1989).
        let along: Vec<f64> = (0..j).map(|k| dot(&block.v[k * m + j..(k + 1) * m], &v)).collect();
        for i in 0..j {
            let sum: f64 = (i..j).map(|k| block.t[i * BAND + k] * along[k]).sum();
            block.t[i * BAND + j] = -tau * sum;
        }
        block.t[j * BAND + j] = tau;
    }
    block
}

/// v with v₀ = 1 and τ such that (I − τvvᵀ)x lies along the first axis; x becomes that.
#[inline(always)]
fn reflection(x: &mut [f64]) -> (Vec<f64>, f64) {
    let mut v = x.to_vec();
    v[0] = 1.0;
    let tail = dot(&x[1..], &x[1..]);
    if tail == 0.0 {
        v[1..].fill(0.0);
        return (v, 0.0);
    }
    let length = (x[0] * x[0] + tail).sqrt();
    let beta = if x[0] > 0.0 { -length } else { length };
    let tau = (beta - x[0]) / beta;
    let scale = 1.0 / (x[0] - beta);
    v[1..].iter_mut().for_each(|v| *v *= scale);
    x.fill(0.0);
    x[0] = beta;
    (v, tau)
}

/// x − τv(vᵀx).
#[inline(always)]
fn reflect(x: &mut [f64], v: &[f64], tau: f64) {
    let along = tau * dot(v, x);
    x.iter_mut().zip(v).for_each(|(x, v)| *x -= along * v);
}

/// By eight interleaved sums, which a machine does at once.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f64>()
}

/// The lower half of a matrix within 2·BAND of the diagonal, column by column: room for the band and for what is pushed out.
struct Band {
    n: usize,
    values: Vec<f64>,
}

/// Places of a column.
const DEPTH: usize = 2 * BAND;

impl Band {
    fn of(values: &[f64], n: usize) -> Self {
        let mut band = vec![0.0; n * DEPTH];
        for j in 0..n {
            for i in j..n.min(j + BAND + 1) {
                band[j * DEPTH + i - j] = values[i * n + j];
            }
        }
        Self { n, values: band }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.values[j * DEPTH + i - j]
    }

    /// Rows `rows` of column `j`.
    #[inline(always)]
    fn column(&mut self, j: usize, rows: &std::ops::Range<usize>) -> &mut [f64] {
        &mut self.values[j * DEPTH + rows.start - j..j * DEPTH + rows.end - j]
    }

    /// Makes column `column` tridiagonal, and chases what this pushes out of the band down to the end.
    #[inline(always)]
    fn chase(&mut self, column: usize) {
        let mut rows = column + 1..self.n.min(column + 1 + BAND);
        let (mut v, mut tau) = reflection(self.column(column, &rows));
        loop {
            self.reflect_both_sides(&rows, &v, tau);
            let below = rows.end..self.n.min(rows.end + BAND);
            if below.is_empty() {
                return;
            }
            self.reflect_from_the_right(&below, &rows, &v, tau);
            let next = reflection(self.column(rows.start, &below));
            for j in rows.start + 1..rows.end {
                reflect(self.column(j, &below), &next.0, next.1);
            }
            (rows, v, tau) = (below, next.0, next.1);
        }
    }

    /// D ← (I − τvvᵀ)D(I − τvvᵀ) of the diagonal block: D − vwᵀ − wvᵀ with w = τDv − ½τ²(vᵀDv)v.
    #[inline(always)]
    fn reflect_both_sides(&mut self, rows: &std::ops::Range<usize>, v: &[f64], tau: f64) {
        let mut w = vec![0.0; v.len()];
        for (at, j) in rows.clone().enumerate() {
            let column = self.column(j, &(j..rows.end));
            w[at] += column[0] * v[at] + dot(&column[1..], &v[at + 1..]);
            w[at + 1..].iter_mut().zip(&column[1..]).for_each(|(w, d)| *w += d * v[at]);
        }
        let shift = 0.5 * tau * tau * dot(&w, v);
        w.iter_mut().zip(v).for_each(|(w, v)| *w = tau * *w - shift * v);
        for (at, j) in rows.clone().enumerate() {
            let (v_j, w_j) = (v[at], w[at]);
            let column = self.column(j, &(j..rows.end));
            for ((d, v), w) in column.iter_mut().zip(&v[at..]).zip(&w[at..]) {
                *d -= v * w_j + w * v_j;
            }
        }
    }

    /// B ← B(I − τvvᵀ) of the block of rows `below` and columns `rows`.
    #[inline(always)]
    fn reflect_from_the_right(
        &mut self,
        below: &std::ops::Range<usize>,
        rows: &std::ops::Range<usize>,
        v: &[f64],
        tau: f64,
    ) {
        let mut along = vec![0.0; below.len()];
        for (j, v) in rows.clone().zip(v) {
            along.iter_mut().zip(self.column(j, below)).for_each(|(sum, b)| *sum += *b * v);
        }
        for (j, v) in rows.clone().zip(v) {
            self.column(j, below).iter_mut().zip(&along).for_each(|(b, sum)| *b -= tau * sum * v);
        }
    }
}
