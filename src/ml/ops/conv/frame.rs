//! Images with a margin of zeros, and where in them patches lie.

use super::super::lanes::Lanes;

/// An image `[H, W, C]` with zeros around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Height and width of the image.
    pub(super) image: (usize, usize),
    /// Channels.
    pub(super) channels: usize,
    /// Rows of zeros above and columns of zeros to the left.
    pub(super) before: (usize, usize),
    /// Rows of zeros below and columns of zeros to the right.
    pub(super) after: (usize, usize),
}

impl Frame {
    /// Elements from one row to the next.
    pub(super) fn pitch(&self) -> usize {
        (self.before.1 + self.image.1 + self.after.1) * self.channels
    }

    /// Elements of an image in its frame.
    pub(super) fn len(&self) -> usize {
        (self.before.0 + self.image.0 + self.after.0) * self.pitch()
    }

    /// Where a pixel's channels start, in the frame's own coordinates.
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        y * self.pitch() + x * self.channels
    }

    /// Whether there is no margin.
    pub(super) fn is_bare(&self) -> bool {
        (self.before, self.after) == ((0, 0), (0, 0))
    }

    /// Images in their frames, with `slack` zeros behind.
    pub(super) fn framed<T: Lanes>(&self, images: &[T], slack: usize) -> Vec<T> {
        let (height, line) = (self.image.0, self.image.1 * self.channels);
        let (above, below) = (self.before.0 * self.pitch(), self.after.0 * self.pitch());
        let (left, right) = (self.before.1 * self.channels, self.after.1 * self.channels);
        let mut framed = Vec::with_capacity(images.len() / (height * line) * self.len() + slack);
        let zeros = |framed: &mut Vec<T>, count: usize| framed.resize(framed.len() + count, T::default());
        for image in images.chunks_exact(height * line) {
            zeros(&mut framed, above);
            for row in image.chunks_exact(line) {
                zeros(&mut framed, left);
                framed.extend_from_slice(row);
                zeros(&mut framed, right);
            }
            zeros(&mut framed, below);
        }
        zeros(&mut framed, slack);
        framed
    }

    /// Copies images into their frames. Margins of `framed` are zeros already, or it is given anew.
    pub(super) fn fill<T: Lanes>(&self, images: &[T], framed: &mut [T]) {
        let (height, line) = (self.image.0, self.image.1 * self.channels);
        for (image, framed) in images.chunks_exact(height * line).zip(framed.chunks_exact_mut(self.len())) {
            for (y, from) in image.chunks_exact(line).enumerate() {
                let start = self.at(y + self.before.0, self.before.1);
                framed[start..start + line].copy_from_slice(from);
            }
        }
    }
}
