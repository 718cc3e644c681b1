//! Products of matrices by cuBLAS: one handle with a workspace of its own, so that the algorithm and its bytes depend on sizes, and how addresses are aligned,
//! alone.

use std::ffi::{c_int, c_void};

use cudarc::cublas::result::{self, CublasError};
use cudarc::cublas::sys::{
    self, cublasAtomicsMode_t, cublasComputeType_t, cublasGemmAlgo_t, cublasMath_t, cublasOperation_t, cublasStatus_t,
    cudaDataType_t,
};
use cudarc::driver;

use super::super::driver::{Fault, Numeric, Product};
use crate::ml::tensor::DType;

/// Bytes of the workspace: what cuBLAS wants on Hopper.
pub(super) const WORKSPACE: usize = 32 << 20;

/// cuBLAS on one stream.
pub(super) struct Products {
    handle: sys::cublasHandle_t,
    workspace: u64,
}

// SAFETY: a handle may be used by any thread, one at a time; it is behind a lock.
unsafe impl Send for Products {}

impl Products {
    pub(super) fn open(card: &str, stream: driver::sys::CUstream) -> Result<Self, Fault> {
        // SAFETY: memory that nobody has yet, which lives as long as the handle.
        let workspace = unsafe { driver::result::malloc_sync(WORKSPACE) };
        let workspace = workspace.map_err(|error| super::lost(card, "room for cuBLAS", error))?;
        // SAFETY: the stream lives longer than the handle; workspace as above.
        let begin = || unsafe {
            let handle = result::create_handle()?;
            result::set_stream(handle, stream.cast())?;
            sys::cublasSetWorkspace_v2(handle, workspace as *mut c_void, WORKSPACE).result()?;
            sys::cublasSetAtomicsMode(handle, cublasAtomicsMode_t::CUBLAS_ATOMICS_NOT_ALLOWED).result()?;
            // Sums of a product that is cut into pieces stay in f32, of bf16 too.
            sys::cublasSetMathMode(handle, cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION).result()?;
            Ok(handle)
        };
        let handle = begin().map_err(|error| fault(card, "start cuBLAS", error))?;
        Ok(Self { handle, workspace })
    }

    pub(super) fn close(&mut self) {
        // SAFETY: nothing is multiplied after this.
        unsafe {
            let _ = result::destroy_handle(self.handle);
            let _ = driver::result::free_sync(self.workspace);
        }
    }

    /// cuBLAS has columns one after the other, where tensors have rows: it multiplies the transposes, in the other order.
    pub(super) fn multiply(&mut self, card: &str, product: &Product) -> Result<(), Fault> {
        let [rows, inner, columns] = extents(product)?;
        let [left, right] = product.transposed;
        let operation =
            |transposed| if transposed { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N };
        let (dtype, compute) = types(product.dtype, product.numeric)?;
        // Scalars are of the type that is computed in.
        let (single, double) = ([1.0f32, f32::from(product.add)], [1.0f64, f64::from(product.add)]);
        let scalars: [*const c_void; 2] = if product.dtype == DType::F64 {
            [0, 1].map(|i| std::ptr::from_ref(&double[i]).cast())
        } else {
            [0, 1].map(|i| std::ptr::from_ref(&single[i]).cast())
        };
        let [a, b, out] = product.at;
        // SAFETY: addresses are tensors' memory of these sizes, given back in the stream's order.
        let started = unsafe {
            result::gemm_ex(
                self.handle,
                operation(right),
                operation(left),
                columns,
                rows,
                inner,
                scalars[0],
                b as *const c_void,
                dtype,
                if right { inner } else { columns },
                a as *const c_void,
                dtype,
                if left { rows } else { inner },
                scalars[1],
                out as *mut c_void,
                dtype,
                columns,
                compute,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        started.map_err(|error| fault(card, "multiply", error))
    }
}

fn extents(product: &Product) -> Result<[c_int; 3], Fault> {
    let mut extents = [0; 3];
    for (to, size) in extents.iter_mut().zip(product.sizes) {
        let problem = || Fault::Refused(format!("a product of sizes {:?} is more than cuBLAS takes", product.sizes));
        *to = c_int::try_from(size).map_err(|_| problem())?;
    }
    Ok(extents)
}

fn types(dtype: DType, numeric: Numeric) -> Result<(cudaDataType_t, cublasComputeType_t), Fault> {
    use cublasComputeType_t as Compute;
    match (dtype, numeric) {
        (DType::F64, _) => Ok((cudaDataType_t::CUDA_R_64F, Compute::CUBLAS_COMPUTE_64F)),
        (DType::F32, Numeric::Tf32) => Ok((cudaDataType_t::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F_FAST_TF32)),
        (DType::F32, _) => Ok((cudaDataType_t::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F)),
        (DType::BF16, _) => Ok((cudaDataType_t::CUDA_R_16BF, Compute::CUBLAS_COMPUTE_32F)),
        (other, _) => Err(Fault::Refused(format!("a card has no product of `{}`", other.as_str()))),
    }
}

fn fault(card: &str, what: &str, error: CublasError) -> Fault {
    match error.0 {
        cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE | cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => {
            Fault::Refused(format!("cuBLAS failed to {what} on {card}: {:?}", error.0))
        }
        cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => super::full(card),
        other => Fault::Lost { card: card.to_owned(), problem: format!("cuBLAS failed to {what}: {other:?}") },
    }
}
