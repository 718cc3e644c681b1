//! What a card must be able to do. CUDA's does it on hardware, the simulated one on host memory.

use std::fmt;

use crate::ml::tensor::DType;

/// What a card refused or failed to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No more memory.
    #[error(
        "{card} is out of memory: {} wanted, {} in use of {}",
        mebibytes(*.wanted),
        mebibytes(*.used),
        mebibytes(*.limit)
    )]
    OutOfMemory {
        /// Which card.
        card: String,
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes in use.
        used: usize,
        /// Bytes that may be in use.
        limit: usize,
    },
    /// The device no longer answers; nothing that it held can be read.
    #[error("{card} was lost: {problem}")]
    Lost {
        /// Which card.
        card: String,
        /// What the driver said.
        problem: String,
    },
    /// There is no such card, or no driver or library for it.
    #[error("{0}")]
    Missing(String),
    /// Sizes or types that its kernels do not take.
    #[error("{0}")]
    Refused(String),
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// How products and convolutions are computed, and in what activations are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Numeric {
    /// Everything in the tensors' own type.
    #[default]
    F32,
    /// Products of f32 tensors round their factors to 10 bits (TF32) and sum in f32.
    Tf32,
    /// Activations and passing gradients are bf16; θ and its gradient f32, sums f32 or f64.
    Bf16,
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

/// Threads of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// An address on the card; 0 for none.
    Address(u64),
    /// A count.
    U32(u32),
    /// A signed offset.
    I32(i32),
    /// A number.
    F64(f64),
    /// A structure of counts, by value; so many of them are meant.
    Counts([u32; 10], usize),
}

/// `out = op(a)·op(b)`, all row by row: `[m, k]·[k, n] → [m, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// m, k, n.
    pub sizes: [usize; 3],
    /// Whether `a`, `b` lie transposed in memory.
    pub transposed: [bool; 2],
    /// Type of all three.
    pub dtype: DType,
    /// How factors are rounded.
    pub numeric: Numeric,
    /// Addresses of a, b and out.
    pub at: [u64; 3],
    /// Whether the product is added to what is there.
    pub add: bool,
}

/// Which of the three convolutions that are each other's derivatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Triple {
    /// Images and kernels to results.
    Forward,
    /// Gradients of results, and kernels, to gradients of images.
    Input,
    /// Gradients of results, and images, to gradients of kernels.
    Weight,
}

/// Sizes of one convolution. Images and results have their channels last, and so have kernels: `[outputs, down, across, inputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Images.
    pub samples: usize,
    /// Height and width of an image.
    pub image: [usize; 2],
    /// Channels of an image.
    pub inputs: usize,
    /// Height and width of a kernel.
    pub kernel: [usize; 2],
    /// Height and width of a result.
    pub result: [usize; 2],
    /// Channels of a result.
    pub outputs: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Zeros around an image.
    pub padding: usize,
}

/// One convolution: `out = factor·conv(a, b)`, or that added to what is there.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Which of the three.
    pub of: Triple,
    /// Its sizes.
    pub sizes: Sizes,
    /// Type of all three.
    pub dtype: DType,
    /// How factors are rounded.
    pub numeric: Numeric,
    /// Addresses: images or gradients of results, kernels or images, what is made.
    pub at: [u64; 3],
    /// What the result is multiplied by.
    pub factor: f64,
    /// Whether it is added to what is there.
    pub add: bool,
}

/// One card with one queue of work. What is asked is done in order; only `read` and `finish` wait.
pub trait Driver: Send + Sync {
    /// Makes room for so many bytes, aligned to 256; `None` if the card has not so many left.
    ///
    /// # Errors
    /// A lost device.
    fn reserve(&self, bytes: usize) -> Result<Option<u64>, Fault>;

    /// Gives room back, of as many bytes as were reserved.
    fn release(&self, address: u64, bytes: usize);

    /// Bytes of the device's memory, whoever has them.
    ///
    /// # Errors
    /// A lost device.
    fn capacity(&self) -> Result<usize, Fault>;

    /// Bytes that libraries hold to work in, beside what is reserved.
    fn library(&self) -> usize {
        0
    }

    /// Whether room that is given back may be given to the next who asks, without a word to the driver.
    fn keeps(&self) -> bool {
        true
    }

    /// Copies to the card. The bytes are no longer needed when it returns.
    ///
    /// # Errors
    /// A lost device.
    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// Waits for all work so far and copies from the card.
    ///
    /// # Errors
    /// A lost device.
    fn read(&self, from: u64, into: &mut [u8]) -> Result<(), Fault>;

    /// Copies on the card.
    ///
    /// # Errors
    /// A lost device.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault>;

    /// Makes bytes 0.
    ///
    /// # Errors
    /// A lost device.
    fn clear(&self, at: u64, bytes: usize) -> Result<(), Fault>;

    /// Starts a kernel of this program by its name.
    ///
    /// # Errors
    /// A lost device.
    fn launch(&self, kernel: &str, geometry: Geometry, arguments: &[Argument]) -> Result<(), Fault>;

    /// Starts a product.
    ///
    /// # Errors
    /// A lost device, sizes that the library refuses.
    fn multiply(&self, product: &Product) -> Result<(), Fault>;

    /// Starts a convolution, if this card has an algorithm for it whose bytes are the same at every run; says whether it has.
    ///
    /// # Errors
    /// A lost device.
    fn convolve(&self, convolution: &Convolution) -> Result<bool, Fault>;

    /// Waits for all work so far.
    ///
    /// # Errors
    /// A lost device.
    fn finish(&self) -> Result<(), Fault>;
}
