//! The convolution triple by cuDNN, with algorithms that give the same bytes at every run. Which one is used is looked up in a fixed table,
//! the first that takes the sizes; nothing is timed, since what a clock chooses another run may choose otherwise.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t as ToInput, cudnnConvolutionBwdFilterAlgo_t as ToWeight,
    cudnnConvolutionFwdAlgo_t as Forward, cudnnDataType_t, cudnnMathType_t, cudnnStatus_t,
};
use cudarc::driver;

use super::super::driver::{Convolution, Fault, Numeric, Sizes, Triple};
use crate::ml::tensor::DType;

/// Bytes that an algorithm may want to work in.
const WORKSPACE: usize = 1 << 30;

/// The fixed table, in order. cuDNN's documentation calls all of these deterministic; of the gradients' others, `ALGO_0` (both) and `ALGO_3`
/// of the weight's are not.
const FORWARD: [Forward; 2] =
    [Forward::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, Forward::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM];
const TO_INPUT: [ToInput; 1] = [ToInput::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1];
const TO_WEIGHT: [ToWeight; 1] = [ToWeight::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1];

/// What decides how a convolution is computed.
type Case = (Triple, Sizes, DType, Numeric);

/// cuDNN on one stream, what it needs to know of each case, and where it works.
pub(super) struct Convolutions {
    handle: sys::cudnnHandle_t,
    stream: driver::sys::CUstream,
    plans: HashMap<Case, Option<Plan>>,
    workspace: (u64, usize),
}

/// One case: descriptions of images, kernels and results, how, and the bytes to work in.
#[derive(Clone, Copy)]
struct Plan {
    images: sys::cudnnTensorDescriptor_t,
    kernels: sys::cudnnFilterDescriptor_t,
    results: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    bytes: usize,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(Forward),
    ToInput(ToInput),
    ToWeight(ToWeight),
}

// SAFETY: handle and descriptors may be used by any thread, one at a time; they are behind a lock.
unsafe impl Send for Convolutions {}

impl Convolutions {
    pub(super) fn open(card: &str, stream: driver::sys::CUstream) -> Result<Self, Fault> {
        // SAFETY: the stream lives longer than the handle.
        let begin = || unsafe {
            let handle = result::create_handle()?;
            result::set_stream(handle, stream.cast())?;
            Ok(handle)
        };
        let handle = begin().map_err(|error| fault(card, "start cuDNN", error))?;
        Ok(Self { handle, stream, plans: HashMap::new(), workspace: (0, 0) })
    }

    pub(super) fn close(&mut self) {
        // SAFETY: nothing is convolved after this, and each description is destroyed once.
        unsafe {
            for plan in std::mem::take(&mut self.plans).into_values().flatten() {
                plan.close();
            }
            let _ = result::destroy_handle(self.handle);
            if self.workspace.0 != 0 {
                let _ = driver::result::free_sync(self.workspace.0);
            }
        }
    }

    /// Starts a convolution, if an algorithm of the table takes it.
    pub(super) fn convolve(&mut self, card: &str, convolution: &Convolution) -> Result<bool, Fault> {
        let case = (convolution.of, convolution.sizes, convolution.dtype, convolution.numeric);
        let plan = if let Some(plan) = self.plans.get(&case) {
            *plan
        } else {
            let plan = Plan::of(self.handle, case).map_err(|error| fault(card, "describe a convolution", error))?;
            self.plans.insert(case, plan);
            plan
        };
        let Some(plan) = plan else { return Ok(false) };
        let workspace = self.workspace(card, plan.bytes)?;
        // SAFETY: addresses are tensors' memory of the sizes that are described, given back in the stream's order.
        match unsafe { plan.start(self.handle, convolution, workspace) } {
            Ok(()) => Ok(true),
            Err(error) if is_unsupported(error) => {
                self.plans.insert(case, None);
                // SAFETY: the plan is forgotten.
                unsafe { plan.close() };
                Ok(false)
            }
            Err(error) => Err(fault(card, "convolve", error)),
        }
    }

    /// Bytes that it holds to work in.
    pub(super) fn bytes(&self) -> usize {
        self.workspace.1
    }

    /// Room to work in, kept for the next who wants no more.
    fn workspace(&mut self, card: &str, bytes: usize) -> Result<u64, Fault> {
        if bytes > self.workspace.1 {
            let lost = |error| super::lost(card, "room for cuDNN", error);
            // SAFETY: nothing that was started works in the old room any more; the new one is nobody's yet.
            unsafe {
                if self.workspace.0 != 0 {
                    driver::result::stream::synchronize(self.stream).map_err(lost)?;
                    driver::result::free_sync(self.workspace.0).map_err(lost)?;
                }
                self.workspace = (0, 0);
                self.workspace = (driver::result::malloc_sync(bytes).map_err(lost)?, bytes);
            }
        }
        Ok(self.workspace.0)
    }
}

impl Plan {
    /// The first of the table that takes this case.
    fn of(handle: sys::cudnnHandle_t, (of, sizes, dtype, numeric): Case) -> Result<Option<Self>, CudnnError> {
        let (dtype, computed, math) = match (dtype, numeric) {
            (DType::F32, Numeric::Tf32) => (
                cudnnDataType_t::CUDNN_DATA_FLOAT,
                cudnnDataType_t::CUDNN_DATA_FLOAT,
                cudnnMathType_t::CUDNN_DEFAULT_MATH,
            ),
            (DType::F32, _) => {
                (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnMathType_t::CUDNN_FMA_MATH)
            }
            (DType::BF16, _) => (
                cudnnDataType_t::CUDNN_DATA_BFLOAT16,
                cudnnDataType_t::CUDNN_DATA_FLOAT,
                cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
            ),
            _ => return Ok(None),
        };
        let Some(sizes) = Extents::of(&sizes) else { return Ok(None) };
        // SAFETY: each description is made, set and, if nothing comes of it, destroyed here.
        unsafe {
            let mut plan = Self {
                images: result::create_tensor_descriptor()?,
                kernels: result::create_filter_descriptor()?,
                results: result::create_tensor_descriptor()?,
                convolution: result::create_convolution_descriptor()?,
                algorithm: Algorithm::Forward(FORWARD[0]),
                bytes: 0,
            };
            if let Err(error) = plan.describe(dtype, &sizes, computed, math) {
                plan.close();
                return Err(error);
            }
            for algorithm in table(of) {
                plan.algorithm = algorithm;
                if let Ok(bytes) = plan.workspace(handle)
                    && bytes <= WORKSPACE
                {
                    plan.bytes = bytes;
                    return Ok(Some(plan));
                }
            }
            plan.close();
        }
        Ok(None)
    }

    unsafe fn describe(
        &self,
        dtype: cudnnDataType_t,
        sizes: &Extents,
        computed: cudnnDataType_t,
        math: cudnnMathType_t,
    ) -> Result<(), CudnnError> {
        // SAFETY: the caller's: descriptions were made.
        unsafe {
            let last = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
            result::set_tensor4d_descriptor(self.images, last, dtype, sizes.images)?;
            result::set_filter4d_descriptor(self.kernels, dtype, last, sizes.kernels)?;
            result::set_tensor4d_descriptor(self.results, last, dtype, sizes.results)?;
            let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            let [padding, stride] = [sizes.padding, sizes.stride];
            result::set_convolution2d_descriptor(
                self.convolution,
                padding,
                padding,
                stride,
                stride,
                1,
                1,
                mode,
                computed,
            )?;
            result::set_convolution_math_type(self.convolution, math)
        }
    }

    unsafe fn workspace(&self, handle: sys::cudnnHandle_t) -> Result<usize, CudnnError> {
        let (x, w, y, how) = (self.images, self.kernels, self.results, self.convolution);
        // SAFETY: the caller's: descriptions are set.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(by) => result::get_convolution_forward_workspace_size(handle, x, w, how, y, by),
                Algorithm::ToInput(by) => {
                    result::get_convolution_backward_data_workspace_size(handle, w, y, how, x, by)
                }
                Algorithm::ToWeight(by) => {
                    result::get_convolution_backward_filter_workspace_size(handle, x, y, how, w, by)
                }
            }
        }
    }

    unsafe fn start(&self, handle: sys::cudnnHandle_t, with: &Convolution, workspace: u64) -> Result<(), CudnnError> {
        let (x, w, y, how) = (self.images, self.kernels, self.results, self.convolution);
        // Both types that come here compute in f32, and so do their scalars.
        let scalars = [with.factor as f32, f32::from(with.add)];
        let [factor, keep] = [0, 1].map(|i| std::ptr::from_ref(&scalars[i]).cast::<c_void>());
        let [a, b, out] = with.at;
        let (a, b, out) = (a as *const c_void, b as *const c_void, out as *mut c_void);
        let (work, bytes) = (workspace as *mut c_void, self.bytes);
        // SAFETY: the caller's: descriptions are set, addresses hold what they describe, the workspace has as many bytes.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(by) => {
                    result::convolution_forward(handle, factor, x, a, w, b, how, by, work, bytes, keep, y, out)
                }
                Algorithm::ToInput(by) => {
                    result::convolution_backward_data(handle, factor, w, b, y, a, how, by, work, bytes, keep, x, out)
                }
                Algorithm::ToWeight(by) => {
                    result::convolution_backward_filter(handle, factor, x, b, y, a, how, by, work, bytes, keep, w, out)
                }
            }
        }
    }

    unsafe fn close(self) {
        // SAFETY: the caller's: nothing uses the descriptions after this.
        unsafe {
            let _ = result::destroy_tensor_descriptor(self.images);
            let _ = result::destroy_filter_descriptor(self.kernels);
            let _ = result::destroy_tensor_descriptor(self.results);
            let _ = result::destroy_convolution_descriptor(self.convolution);
        }
    }
}

fn table(of: Triple) -> Vec<Algorithm> {
    match of {
        Triple::Forward => FORWARD.map(Algorithm::Forward).to_vec(),
        Triple::Input => TO_INPUT.map(Algorithm::ToInput).to_vec(),
        Triple::Weight => TO_WEIGHT.map(Algorithm::ToWeight).to_vec(),
    }
}

/// Sizes as cuDNN wants them: samples, channels, height, width.
struct Extents {
    images: [c_int; 4],
    kernels: [c_int; 4],
    results: [c_int; 4],
    stride: c_int,
    padding: c_int,
}

impl Extents {
    /// None where one is more than cuDNN counts.
    fn of(sizes: &Sizes) -> Option<Self> {
        let four = |of: [usize; 4]| -> Option<[c_int; 4]> {
            let mut four = [0; 4];
            for (to, size) in four.iter_mut().zip(of) {
                *to = c_int::try_from(size).ok()?;
            }
            c_int::try_from(of.iter().product::<usize>()).ok().map(|_| four)
        };
        Some(Self {
            images: four([sizes.samples, sizes.inputs, sizes.image[0], sizes.image[1]])?,
            kernels: four([sizes.outputs, sizes.inputs, sizes.kernel[0], sizes.kernel[1]])?,
            results: four([sizes.samples, sizes.outputs, sizes.result[0], sizes.result[1]])?,
            stride: c_int::try_from(sizes.stride).ok()?,
            padding: c_int::try_from(sizes.padding).ok()?,
        })
    }
}

fn is_unsupported(CudnnError(status): CudnnError) -> bool {
    // Each reason why something is not supported has a number of its own, from this one on to the next thousand.
    let number = status as u32;
    let first = cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED as u32;
    (first..first + 1000).contains(&number)
}

fn fault(card: &str, what: &str, CudnnError(status): CudnnError) -> Fault {
    if status == cudnnStatus_t::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED {
        return super::full(card);
    }
    Fault::Lost { card: card.to_owned(), problem: format!("cuDNN failed to {what}: {status:?}") }
}
