//! CUDA's driver, and its libraries for products and convolutions. All three are looked for when a card is asked for: the driver and cuBLAS
//! must be there; without cuDNN a convolution is a product with its patches.
//!
//! Everything is done on one stream, so that what is asked is done in order. Each method makes the device's context current first, since
//! the thread that calls may never have seen it.
//!
//! Reading order: this file (devices, memory, launches), `products` (cuBLAS), `convolutions` (cuDNN).

#![expect(unsafe_code, reason = "the driver and its libraries are written in C; each block says what makes it sound")]

mod convolutions;
mod products;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::cublas::sys::libraryPropertyType_t as Part;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUresult};
use cudarc::{cublas, cudnn};

use super::driver::{Argument, Convolution, Driver, Fault, Geometry, Product};
use super::kernels::{self, LEAST};
use super::open::Model;
use convolutions::Convolutions;
use products::Products;

/// All devices that the driver finds.
pub(super) fn models() -> Result<Vec<Model>, Fault> {
    start()?;
    let count = result::device::get_count().map_err(|error| missing("counted no devices", error))?;
    if count == 0 {
        return Err(Fault::Missing("there is no CUDA device in this machine".to_owned()));
    }
    let models = (0..count).map(model).collect::<Result<Vec<_>, _>>()?;
    match models.iter().find(|model| model.capability >= LEAST) {
        Some(_) => Ok(models),
        None => Err(too_old("the best CUDA device of this machine", models[0].capability)),
    }
}

fn too_old(device: &str, (major, minor): (i32, i32)) -> Fault {
    let (least, beyond) = LEAST;
    Fault::Missing(format!(
        "{device} has compute capability {major}.{minor}, and the kernels of thalweg want {least}.{beyond} at least"
    ))
}

/// A queue on the device of this number.
pub(super) fn open(ordinal: usize) -> Result<Box<dyn Driver>, Fault> {
    start()?;
    let count = result::device::get_count().map_err(|error| missing("counted no devices", error))?;
    match c_int::try_from(ordinal) {
        Ok(number) if number < count => Ok(Box::new(Queue::open(number)?)),
        _ => Err(Fault::Missing(format!("there is no cuda:{ordinal}: this machine has {count} CUDA devices"))),
    }
}

/// Whether there is a driver.
pub(super) fn has_driver() -> bool {
    // SAFETY: loading the vendor's library runs no code of its but its initialisers.
    unsafe { sys::is_culib_present() }
}

/// Finds and starts the driver, and finds cuBLAS.
fn start() -> Result<(), Fault> {
    // SAFETY: loading the vendor's library runs no code of its but its initialisers.
    let products = unsafe { cublas::sys::is_culib_present() };
    if !has_driver() {
        return Err(Fault::Missing("this machine has no CUDA driver (`libcuda.so.1`)".to_owned()));
    }
    result::init().map_err(|error| missing("does not start", error))?;
    if products {
        return Ok(());
    }
    Err(Fault::Missing(
        "there is a CUDA driver and no cuBLAS (`libcublas.so`): put its folder on `LD_LIBRARY_PATH`".to_owned(),
    ))
}

fn missing(what: &str, error: DriverError) -> Fault {
    Fault::Missing(format!("the CUDA driver {what}: {}", words(error)))
}

/// What the driver calls an error.
fn words(error: DriverError) -> String {
    error.error_name().map_or_else(|_| format!("{:?}", error.0), |name| name.to_string_lossy().into_owned())
}

fn model(ordinal: c_int) -> Result<Model, Fault> {
    let describe = || -> Result<Model, DriverError> {
        let device = result::device::get(ordinal)?;
        let attribute = |attribute| {
            // SAFETY: the device was given by the driver.
            unsafe { result::device::get_attribute(device, attribute) }
        };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        // SAFETY: the device was given by the driver.
        let bytes = unsafe { result::device::total_mem(device)? };
        let name = result::device::get_name(device)?;
        let (driver, products, convolutions) = versions();
        let arithmetic = format!("{name} sm_{major}{minor} driver {driver} cublas {products} cudnn {convolutions}");
        Ok(Model { name, bytes, arithmetic, capability: (major, minor) })
    };
    describe().map_err(|error| missing(&format!("does not describe device {ordinal}"), error))
}

/// Versions of the driver, of cuBLAS and of cuDNN, 0 where there is none.
fn versions() -> (c_int, usize, usize) {
    let mut driver = 0;
    // SAFETY: the driver writes one number.
    let _ = unsafe { sys::cuDriverGetVersion(&raw mut driver) };
    // SAFETY: cuBLAS was found before a device is described, and takes no handle for this; cuDNN is asked if it is there.
    let (products, convolutions) = unsafe {
        let part = |of| {
            let mut number = 0;
            let _ = cublas::sys::cublasGetProperty(of, &raw mut number);
            number as usize
        };
        let products = part(Part::MAJOR_VERSION) * 10_000 + part(Part::MINOR_VERSION) * 100 + part(Part::PATCH_LEVEL);
        (products, if cudnn::sys::is_culib_present() { cudnn::result::get_version() } else { 0 })
    };
    (driver, products, convolutions)
}

/// What a driver's answer means to whoever asked. Its numbers, and those of the libraries, come into Rust as enums of the numbers that are
/// known: a driver that is newer than these bindings is taken at its word that old functions answer as before.
fn lost(card: &str, what: &str, error: DriverError) -> Fault {
    if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return full(card);
    }
    Fault::Lost { card: card.to_owned(), problem: format!("{what}: {}", words(error)) }
}

/// That a device has no room for what the driver or a library wants.
fn full(card: &str) -> Fault {
    let (left, all) = result::mem_get_info().unwrap_or_default();
    Fault::OutOfMemory { card: card.to_owned(), wanted: 0, used: all - left, limit: all }
}

/// One stream of one device.
struct Queue {
    name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    module: sys::CUmodule,
    kernels: Mutex<HashMap<String, Function>>,
    products: Mutex<Products>,
    convolutions: Option<Mutex<Convolutions>>,
}

/// A kernel of the module.
#[derive(Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: a function's handle may be used by any thread that has made its context current, as every method does.
unsafe impl Send for Function {}

// SAFETY: context, stream and module may be used by any thread that has made the context current, as every method does; the libraries'
// handles may be used by one thread at a time, and are behind locks.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    fn open(ordinal: c_int) -> Result<Self, Fault> {
        let name = format!("cuda:{ordinal}");
        let capability = model(ordinal)?.capability;
        if capability < LEAST {
            return Err(too_old(&name, capability));
        }
        let ptx = CString::new(kernels::ptx()).expect("PTX is text");
        // SAFETY: the device was given by the driver; its context is kept until the queue is dropped; the text ends with a zero.
        let begin = || unsafe {
            let device = result::device::get(ordinal)?;
            let context = result::primary_ctx::retain(device)?;
            result::ctx::set_current(context)?;
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
            let module = result::module::load_data(ptx.as_ptr().cast::<c_void>())?;
            Ok((device, context, stream, module))
        };
        let (device, context, stream, module) = begin().map_err(|error| lost(&name, "open", error))?;
        let products = Products::open(&name, stream)?;
        // SAFETY: loading the library runs no code of its but its initialisers. Before version 9 its answers have other numbers.
        let has_convolutions = unsafe { cudnn::sys::is_culib_present() } && cudnn::result::get_version() >= 90_000;
        let convolutions = if has_convolutions { Some(Mutex::new(Convolutions::open(&name, stream)?)) } else { None };
        let (kernels, products) = (Mutex::default(), Mutex::new(products));
        Ok(Self { name, device, context, stream, module, kernels, products, convolutions })
    }

    /// Does something with the context current.
    fn with<R>(&self, what: &str, body: impl FnOnce() -> Result<R, DriverError>) -> Result<R, Fault> {
        // SAFETY: the context is retained until the queue is dropped.
        let entered = unsafe { result::ctx::set_current(self.context) };
        entered.and_then(|()| body()).map_err(|error| lost(&self.name, what, error))
    }

    fn function(&self, kernel: &str) -> Result<Function, Fault> {
        let mut kernels = locked(&self.kernels);
        if let Some(&function) = kernels.get(kernel) {
            return Ok(function);
        }
        let name = CString::new(kernel).expect("kernels' names are plain");
        // SAFETY: the module is loaded until the queue is dropped.
        let found = self.with(kernel, || unsafe { result::module::get_function(self.module, name) })?;
        kernels.insert(kernel.to_owned(), Function(found));
        Ok(Function(found))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A device that is lost takes all this with it; there is nobody to tell.
        let _ = self.with("close", || {
            locked(&self.products).close();
            if let Some(convolutions) = &self.convolutions {
                locked(convolutions).close();
            }
            // SAFETY: nothing of the queue is used after this, and nobody else has its stream and module.
            unsafe {
                result::stream::synchronize(self.stream)?;
                result::module::unload(self.module)?;
                result::stream::destroy(self.stream)?;
                result::primary_ctx::release(self.device)
            }
        });
    }
}

impl Driver for Queue {
    fn reserve(&self, bytes: usize) -> Result<Option<u64>, Fault> {
        // SAFETY: room that nobody has yet.
        self.with("reserve memory", || match unsafe { result::malloc_sync(bytes) } {
            Ok(address) => Ok(Some(address)),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn release(&self, address: u64, _: usize) {
        // SAFETY: the memory was reserved here, whoever had it gave it back, and nothing that was started reads it any more.
        let _ = self.with("release memory", || unsafe {
            result::stream::synchronize(self.stream)?;
            result::free_sync(address)
        });
    }

    fn capacity(&self) -> Result<usize, Fault> {
        self.with("ask for its memory", result::mem_get_info).map(|(_, all)| all)
    }

    fn library(&self) -> usize {
        let convolutions = self.convolutions.as_ref().map_or(0, |convolutions| locked(convolutions).bytes());
        products::WORKSPACE + convolutions
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Fault> {
        // SAFETY: `to` is room for as many bytes. They are pageable, so that the driver has copied them when it returns.
        self.with("copy to it", || unsafe { result::memcpy_htod_async(to, bytes, self.stream) })
    }

    fn read(&self, from: u64, into: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: `from` has as many bytes, and `into` is not looked at before the stream is through.
        self.with("copy from it", || unsafe {
            result::memcpy_dtoh_async(into, from, self.stream)?;
            result::stream::synchronize(self.stream)
        })
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: both are tensors' memory of as many bytes, given back in the stream's order.
        self.with("copy on it", || unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) })
    }

    fn clear(&self, at: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: it is a tensor's memory of as many bytes.
        self.with("clear memory", || unsafe { result::memset_d8_async(at, 0, bytes, self.stream) })
    }

    fn launch(&self, kernel: &str, geometry: Geometry, arguments: &[Argument]) -> Result<(), Fault> {
        let function = self.function(kernel)?;
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(address_of).collect();
        let [grid, block] = [geometry.grid, geometry.block].map(|[x, y, z]| (x, y, z));
        // SAFETY: the driver reads as many arguments as the kernel declares, of their types, before it returns; the simulated card checks
        // every launch of this program against the same declarations.
        self.with(kernel, || unsafe { result::launch_kernel(function.0, grid, block, 0, self.stream, &mut pointers) })
    }

    fn multiply(&self, product: &Product) -> Result<(), Fault> {
        self.with("enter", || Ok(()))?;
        locked(&self.products).multiply(&self.name, product)
    }

    fn convolve(&self, convolution: &Convolution) -> Result<bool, Fault> {
        let Some(convolutions) = &self.convolutions else { return Ok(false) };
        self.with("enter", || Ok(()))?;
        locked(convolutions).convolve(&self.name, convolution)
    }

    fn finish(&self) -> Result<(), Fault> {
        // SAFETY: the stream lives until the queue is dropped.
        self.with("finish", || unsafe { result::stream::synchronize(self.stream) })
    }
}

/// Where an argument's bytes are.
fn address_of(argument: &Argument) -> *mut c_void {
    let address: *const c_void = match argument {
        Argument::Address(value) => std::ptr::from_ref(value).cast(),
        Argument::U32(value) => std::ptr::from_ref(value).cast(),
        Argument::I32(value) => std::ptr::from_ref(value).cast(),
        Argument::F64(value) => std::ptr::from_ref(value).cast(),
        Argument::Counts(values, _) => values.as_ptr().cast(),
    };
    address.cast_mut()
}
