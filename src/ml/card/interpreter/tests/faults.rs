//! A test for each way in which a launch may fail, and for what looks like one and is none.

use super::super::{Access, Argument, FaultKind, Geometry, Module};
use super::support::{Card, ORDERS};

const PTX: &str = include_str!("ptx/faulty.ptx");

/// The fault of one launch in a single block of `threads`.
fn fault(kernel: &str, threads: u32, arguments: &[Argument]) -> Option<FaultKind> {
    Card::new(PTX).try_launch(kernel, &Geometry::linear(1, threads), arguments).err().map(|fault| fault.kind)
}

#[test]
fn an_access_outside_an_allocation_is_out_of_bounds() {
    let mut card = Card::new(PTX);
    let buffer = card.put(&[0u32; 4]);
    let Argument::U64(address) = buffer else { unreachable!() };
    for offset in [16, 14, -4i64, 1 << 20] {
        let found =
            card.try_launch("store_at", &Geometry::linear(1, 1), &[buffer.clone(), Argument::U64(offset as u64)]);
        let kind = found.unwrap_err().kind;
        let address = address.wrapping_add(offset as u64);
        if offset == 14 {
            assert_eq!(kind, FaultKind::Misaligned { address, bytes: 4 });
        } else {
            assert_eq!(kind, FaultKind::OutOfBounds { access: Access::Write, space: "global", address, bytes: 4 });
        }
    }
    let null = card.try_launch("load_at", &Geometry::linear(1, 1), &[Argument::U64(0), Argument::U64(0)]).unwrap_err();
    assert_eq!(null.kind, FaultKind::OutOfBounds { access: Access::Read, space: "global", address: 0, bytes: 4 });
    assert_eq!(
        null.to_string(),
        "launch `load_at` (block 0,0,0, thread 0,0,0, PTX line 23): out-of-bounds read of 4 bytes at 0x0 in global memory"
    );
}

#[test]
fn freed_and_never_written_memory_may_not_be_read() {
    let mut card = Card::new(PTX);
    let buffer = card.room::<u32>(4);
    let Argument::U64(address) = buffer else { unreachable!() };
    let arguments = [buffer, Argument::U64(4)];
    let unwritten = card.try_launch("load_at", &Geometry::linear(1, 1), &arguments).unwrap_err().kind;
    assert_eq!(unwritten, FaultKind::Uninitialised { space: "global", address: address + 4 });
    card.try_launch("store_at", &Geometry::linear(1, 1), &arguments).unwrap();
    card.try_launch("load_at", &Geometry::linear(1, 1), &arguments).unwrap();
    card.memory.free(address);
    let freed = card.try_launch("load_at", &Geometry::linear(1, 1), &arguments).unwrap_err().kind;
    assert_eq!(freed, FaultKind::UseAfterFree { access: Access::Read, address: address + 4 });
}

#[test]
fn shared_memory_has_bounds_and_starts_unwritten_in_every_block() {
    let at = |written, read| fault("shared_at", 1, &[Argument::U32(written), Argument::U32(read)]);
    assert_eq!(at(60, 60), None);
    assert_eq!(at(60, 0), Some(FaultKind::Uninitialised { space: "shared", address: 0 }));
    let outside = FaultKind::OutOfBounds { access: Access::Write, space: "shared", address: 64, bytes: 4 };
    assert_eq!(at(64, 0), Some(outside));
    assert_eq!(at(62, 0), Some(FaultKind::Misaligned { address: 62, bytes: 4 }));
}

#[test]
fn two_threads_that_write_one_cell_race_even_with_the_same_value() {
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let buffer = card.put(&[0u32; 4]);
        let race = card.try_launch("same_cell", &Geometry::linear(1, 4), std::slice::from_ref(&buffer)).unwrap_err();
        assert!(matches!(race.kind, FaultKind::Race { earlier: Access::Write, other_block: false, .. }), "{race}");
        card.machine.races = false;
        card.try_launch("same_cell", &Geometry::linear(1, 4), &[buffer]).unwrap();
    }
}

#[test]
fn blocks_race_whichever_runs_first() {
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let buffer = card.put(&[0u32; 8]);
        let race = card.try_launch("other_block", &Geometry::linear(3, 1), std::slice::from_ref(&buffer)).unwrap_err();
        assert!(matches!(race.kind, FaultKind::Race { other_block: true, .. }), "{race}");
        card.try_launch("other_block", &Geometry::linear(1, 1), &[buffer]).unwrap();
    }
}

#[test]
fn a_barrier_orders_a_block_and_a_warp_barrier_orders_a_warp_only() {
    for (mask, barrier, races) in
        [(1, 0, true), (1, 1, false), (1, 2, false), (32, 0, true), (32, 1, true), (32, 2, false)]
    {
        for order in ORDERS {
            let mut card = Card::order(PTX, order);
            let out = card.room::<u32>(64);
            let arguments = [Argument::U32(mask), Argument::U32(barrier), out.clone()];
            let outcome = card.try_launch("neighbour", &Geometry::linear(1, 64), &arguments);
            match outcome {
                Ok(_) => {
                    assert!(!races);
                    assert_eq!(card.get::<u32>(&out, 64), (0..64).map(|i| i ^ mask).collect::<Vec<_>>());
                }
                // In some orders the neighbour has not even written yet.
                Err(fault) => {
                    let kind = fault.kind;
                    assert!(races, "{kind}");
                    assert!(matches!(kind, FaultKind::Race { .. } | FaultKind::Uninitialised { .. }), "{kind}");
                }
            }
        }
    }
}

#[test]
fn lanes_of_a_warp_must_wait_at_one_barrier_but_may_have_left() {
    let at = |limit, leave| fault("diverge", 64, &[Argument::U32(limit), Argument::U32(leave)]);
    assert_eq!(at(20, 0), Some(FaultKind::Divergence { waiting: "barrier" }));
    assert_eq!(at(32, 0), None);
    assert_eq!(at(20, 1), None);
}

#[test]
fn a_shuffle_wants_its_lanes() {
    let at = |limit, mask, wait| {
        fault("shuffle_some", 32, &[Argument::U32(limit), Argument::U32(mask), Argument::U32(wait)])
    };
    assert_eq!(at(32, u32::MAX, 0), None);
    assert_eq!(at(8, u32::MAX, 0), Some(FaultKind::InactiveLane { lane: 8 }));
    assert_eq!(at(8, u32::MAX, 1), Some(FaultKind::Divergence { waiting: "warp-wide instruction" }));
    assert_eq!(at(8, 0x7f, 0), Some(FaultKind::InactiveLane { lane: 7 }));
    assert_eq!(at(8, 0xfe, 0), Some(FaultKind::MemberMask { mask: 0xfe }));
}

#[test]
fn an_endless_loop_exhausts_the_budget() {
    let mut card = Card::new(PTX);
    card.machine.budget = 1000;
    let endless = card.try_launch("forever", &Geometry::linear(1, 1), &[]).unwrap_err();
    assert_eq!(endless.kind, FaultKind::Budget { limit: 1000 });
}

#[test]
fn a_trap_and_endless_recursion_stop_the_launch() {
    assert_eq!(fault("stop", 1, &[]), Some(FaultKind::Trap));
    assert_eq!(fault("deep", 1, &[]), Some(FaultKind::CallDepth));
}

#[test]
fn a_launch_that_does_not_fit_never_starts() {
    assert_eq!(fault("nowhere", 1, &[]), Some(FaultKind::UnknownKernel));
    assert_eq!(fault("stop", 1025, &[]), Some(FaultKind::TooManyThreads { threads: 1025, limit: 1024 }));
    assert_eq!(fault("big", 65, &[]), Some(FaultKind::TooManyThreads { threads: 65, limit: 64 }));
    assert_eq!(fault("stop", 0, &[]), Some(FaultKind::Geometry));
    assert_eq!(fault("stop", 1, &[Argument::U32(1)]), Some(FaultKind::ArgumentCount { expected: 0, given: 1 }));
    let short = fault("store_at", 1, &[Argument::U64(1), Argument::U32(1)]);
    assert_eq!(short, Some(FaultKind::ArgumentSize { index: 1, expected: 8, given: 4 }));
}

#[test]
fn shared_memory_is_limited_unless_the_limit_is_raised() {
    let mut card = Card::new(PTX);
    let geometry = Geometry { shared_bytes: 10_000, ..Geometry::linear(1, 1) };
    let refused = card.try_launch("big", &geometry, &[]).unwrap_err();
    assert_eq!(refused.kind, FaultKind::TooMuchShared { bytes: 50_000, limit: 49_152 });
    card.machine.shared_limit = 100 << 10;
    card.try_launch("big", &geometry, &[]).unwrap();
}

#[test]
fn what_is_unknown_is_refused_by_line() {
    let text = |body: &str| {
        format!(".version 9.0\n.visible .entry k()\n{{\n.reg .b32 %r<4>;\n.reg .b64 %rd<4>;\n{body}\nret;\n}}")
    };
    for body in [
        "add.frob.u32 %r0, %r1, %r2;",
        "add.u32 %r0, %r1;",
        "ld.texture.u32 %r0, [%rd0];",
        "ld.global.v8.u32 %r0, [%rd0];",
        "mov.u32 %r0, %clock;",
        "mov.u32 %r0, %r9;",
        "cvt.rn.u32.f32 %r0, %r1;",
        "bra NOWHERE;",
        "call.uni nobody, ();",
        "bar.sync 0, 32;",
        "setp.almost.u32 %r0, %r1, %r2;",
        "wgmma.fence.sync.aligned;",
    ] {
        assert_eq!(Module::parse(&text(body)).expect_err(body).line, 6, "{body}");
    }
    Module::parse(&text("add.u32 %r0, %r1, %r2;")).unwrap();
}

#[test]
fn seldom_instructions_do_what_the_manual_says() {
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let out = card.room::<u32>(32 * 12);
        card.launch("seldom", &Geometry::linear(1, 32), &[&out]);
        let found = card.get::<u32>(&out, 32 * 12);
        for tid in 0..32u32 {
            let below = tid < 3;
            let expected = [
                tid.wrapping_sub(1),
                u32::from(tid > 0),
                10 + (tid & 3).min(2),
                u32::from(tid > 1 && !below),
                u32::from(tid <= 1 && !below),
                !7,
                3,
                0x1111_1111 << (tid & 3),
                31,
                if tid == 0 { 6 } else { 5 },
                if below { u32::MAX } else { 0 },
                tid ^ 5 ^ 3,
            ];
            assert_eq!(found[12 * tid as usize..12 * (tid as usize + 1)], expected, "{tid}");
        }
    }
}
