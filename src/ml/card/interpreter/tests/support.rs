//! The one builder of these tests: a card with named buffers of any type, and launches on it.

use super::super::{Argument, Counts, Fault, Geometry, Machine, Memory, Module, Order};

/// The orders in which every kernel here must give the same bits.
pub const ORDERS: [Order; 4] = [Order::Forward, Order::Backward, Order::Shuffled(1), Order::Shuffled(2)];

/// A number that lies in memory as its little-endian bytes.
pub trait Scalar: Copy {
    const BYTES: usize;
    fn bytes(self) -> Vec<u8>;
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! scalars {
    ($($ty:ty)*) => {$(impl Scalar for $ty {
        const BYTES: usize = size_of::<$ty>();
        fn bytes(self) -> Vec<u8> { self.to_le_bytes().to_vec() }
        fn of(bytes: &[u8]) -> Self { Self::from_le_bytes(bytes.try_into().unwrap()) }
    })*};
}
scalars!(u16 i32 u32 u64 f32 f64);

pub struct Card {
    pub module: Module,
    pub memory: Memory,
    pub machine: Machine,
}

impl Card {
    pub fn new(ptx: &str) -> Self {
        Self { module: Module::parse(ptx).unwrap(), memory: Memory::new(), machine: Machine::default() }
    }

    pub fn order(ptx: &str, order: Order) -> Self {
        let mut card = Self::new(ptx);
        card.machine.order = order;
        card
    }

    /// A buffer that holds `values`, as an argument.
    pub fn put<T: Scalar>(&mut self, values: &[T]) -> Argument {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.bytes()).collect();
        let address = self.memory.alloc(bytes.len());
        self.memory.write(address, &bytes);
        Argument::U64(address)
    }

    /// A buffer for `count` values that nobody has written.
    pub fn room<T: Scalar>(&mut self, count: usize) -> Argument {
        Argument::U64(self.memory.alloc(count * T::BYTES))
    }

    pub fn get<T: Scalar>(&self, buffer: &Argument, count: usize) -> Vec<T> {
        let Argument::U64(address) = buffer else { panic!("a buffer is an address") };
        self.memory.read(*address, count * T::BYTES).chunks(T::BYTES).map(T::of).collect()
    }

    pub fn try_launch(&mut self, kernel: &str, geometry: &Geometry, arguments: &[Argument]) -> Result<Counts, Fault> {
        self.machine.launch(&self.module, kernel, geometry, arguments, &mut self.memory)
    }

    pub fn launch(&mut self, kernel: &str, geometry: &Geometry, arguments: &[&Argument]) -> Counts {
        let arguments: Vec<Argument> = arguments.iter().map(|argument| (*argument).clone()).collect();
        self.try_launch(kernel, geometry, &arguments).unwrap_or_else(|fault| panic!("{fault}"))
    }
}

/// Numbers in [-1, 1) from a multiplicative generator.
pub fn uniform(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub fn uniform_f32(count: usize, seed: u64) -> Vec<f32> {
    uniform(count, seed).into_iter().map(|value| value as f32).collect()
}
