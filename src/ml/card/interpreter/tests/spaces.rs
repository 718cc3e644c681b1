//! Address spaces, widths, atomics, and module variables that last from launch to launch.

use super::super::Geometry;
use super::support::{Card, ORDERS};

const PTX: &str = include_str!("ptx/spaces.ptx");

#[test]
fn a_generic_address_reaches_local_shared_and_global_memory() {
    let mut card = Card::new(PTX);
    let buffer = card.put(&[3u32, 0]);
    card.launch("generic", &Geometry::linear(1, 1), &[&buffer]);
    assert_eq!(card.get::<u32>(&buffer, 2), [3, 123]);
}

#[test]
fn narrow_loads_extend_by_their_type_to_the_register() {
    let mut card = Card::new(PTX);
    let buffer = card.put(&[0xfe01_0203u32, 0, 0, 0, 0, 0, 0, 0]);
    card.launch("narrow", &Geometry::linear(1, 1), &[&buffer]);
    let found = card.get::<u32>(&buffer, 8);
    assert_eq!(found[2..], [0xffff_fffe, 0xfe, 0xffff_fe01, 0xffff_ffff, 0xffff_fffe, 0xfefe_00fe]);
}

#[test]
fn atomics_update_in_place_and_variables_last() {
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let mut start: Vec<u32> = vec![-9i32 as u32, 1, 3, 3, 3, 0, 0x3f80_0000, 3];
        start.push(0);
        let (buffer, total) = (card.put(&start), card.room::<u32>(1));
        card.launch("atomics", &Geometry::linear(3, 40), &[&buffer]);
        let expected = [-3i32 as u32, 77, 9, 3, 0, 8, 0x4040_0000, 15, 1];
        assert_eq!(card.get::<u32>(&buffer, 9), expected);
        card.launch("atomics", &Geometry::linear(1, 10), &[&buffer]);
        card.launch("count", &Geometry::linear(1, 1), &[&total]);
        assert_eq!(card.get::<u32>(&total, 1), [5 + 120 + 10]);
    }
}
