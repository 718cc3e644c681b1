//! The calls of the driver and its libraries, against a stand-in for all three: a small C program that has their functions, computes products and
//! convolutions as the vendor defines them, and gives launches to the interpreter with the arguments as they lie in memory. A process of
//! its own finds it where the driver would be. What this cannot show is that the vendor's own do the same.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard};

use super::super::interpreter::{Argument, Geometry, Machine, Memory, Module};
use super::super::{Card, Cards, kernels};
use super::locked;
use crate::ml::objective::on_card;
use crate::ml::ops::card::tests as operations;

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(|| Mutex::new(Memory::new()));
static KERNELS: LazyLock<Module> = LazyLock::new(|| Module::parse(&kernels::ptx()).unwrap());

fn memory() -> MutexGuard<'static, Memory> {
    locked(&MEMORY)
}

/// What the stand-in asks of a test.
#[repr(C)]
struct Table {
    reserve: extern "C" fn(usize) -> u64,
    release: extern "C" fn(u64),
    write: extern "C" fn(u64, *const c_void, usize),
    read: extern "C" fn(u64, *mut c_void, usize),
    launch: extern "C" fn(*const c_char, *const c_uint, *const *const c_void) -> c_int,
}

extern "C" fn reserve(bytes: usize) -> u64 {
    memory().alloc(bytes)
}

extern "C" fn release(address: u64) {
    memory().free(address);
}

extern "C" fn write(to: u64, from: *const c_void, bytes: usize) {
    // SAFETY: the stand-in passes on what the driver's caller says of its bytes.
    memory().write(to, unsafe { std::slice::from_raw_parts(from.cast(), bytes) });
}

extern "C" fn read(from: u64, into: *mut c_void, bytes: usize) {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(into.cast(), bytes) }.copy_from_slice(memory().read(from, bytes));
}

extern "C" fn launch(kernel: *const c_char, geometry: *const c_uint, arguments: *const *const c_void) -> c_int {
    // SAFETY: the stand-in gives a name that ends with a zero, seven numbers, and as many arguments as the kernel declares.
    let (kernel, [gx, gy, gz, bx, by, bz, shared]) =
        unsafe { (CStr::from_ptr(kernel).to_str().unwrap(), *geometry.cast::<[c_uint; 7]>()) };
    let bytes_of = |(index, bytes): (usize, u32)| {
        // SAFETY: the driver reads as many bytes of each argument as the kernel declares, and so does this.
        let bytes = unsafe { std::slice::from_raw_parts((*arguments.add(index)).cast::<u8>(), bytes as usize) };
        Argument::Bytes(bytes.to_vec())
    };
    let arguments: Vec<Argument> = KERNELS.parameters(kernel).unwrap().into_iter().enumerate().map(bytes_of).collect();
    let geometry = Geometry { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes: shared };
    Machine::default().launch(&KERNELS, kernel, &geometry, &arguments, &mut memory()).unwrap();
    0
}

/// How many objects of the stand-in's were made and not destroyed.
fn objects() -> c_int {
    // SAFETY: in this process the driver is the stand-in, which has this function.
    unsafe { (cudarc::driver::sys::culib().get::<extern "C" fn() -> c_int>(b"stand_in_objects\0").unwrap())() }
}

/// In a process whose driver is the stand-in: the suite that a real card has to pass.
#[test]
#[ignore = "is run by the test below, in a process of its own"]
fn in_a_process_with_the_stand_in() {
    let table = Table { reserve, release, write, read, launch };
    // SAFETY: as in `objects`; the table is copied.
    unsafe {
        let stand_in = cudarc::driver::sys::culib().get::<extern "C" fn(*const Table)>(b"stand_in\0").unwrap();
        stand_in(&raw const table);
    }
    let models = Cards::Cuda.models().unwrap();
    assert_eq!(
        (models.len(), &*models[0].name, models[0].bytes, models[0].capability),
        (1, "stand-in", 1 << 30, (9, 0))
    );
    assert_eq!(models[0].arithmetic, "stand-in sm_90 driver 13000 cublas 130101 cudnn 92100");
    assert_eq!(Cards::Cuda.open(1).unwrap_err().to_string(), "there is no cuda:1: this machine has 1 CUDA devices");
    let card: Card = Cards::Cuda.open(0).unwrap();
    operations::check(&card, 1);
    on_card::check_trajectories(&card);
    // Another thread's work on the same queue.
    std::thread::scope(|scope| scope.spawn(|| operations::check(&card, 1)).join().unwrap());
    card.finish().unwrap();
    drop(card);
    assert_eq!(objects(), 0, "what was made is destroyed, once");
}

#[test]
fn what_is_called_of_the_driver_and_its_libraries_means_what_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ml/card/cuda/stand_in.c");
    let compiled =
        Command::new("cc").args(["-w", "-O1", "-shared", "-fPIC", "-o"]).arg(at("libcuda.so")).arg(source).status();
    assert!(compiled.unwrap().success());
    for library in ["libcublas.so", "libcudnn.so"] {
        std::os::unix::fs::symlink(at("libcuda.so"), at(library)).unwrap();
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--ignored", "--exact", "ml::card::cuda::tests::in_a_process_with_the_stand_in"]);
    let output = test.env("LD_LIBRARY_PATH", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
