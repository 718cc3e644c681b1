//! What makes the same action give other bits on another machine.

use crate::key::Arithmetic;

/// The arithmetic of this machine's CPU: the instruction sets that the products choose between, and the caches they block by.
pub fn arithmetic() -> Arithmetic {
    let mut features = vec![std::env::consts::ARCH.to_owned()];
    #[cfg(target_arch = "x86_64")]
    for (name, present) in [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ] {
        if present {
            features.push(name.to_owned());
        }
    }
    features.extend(caches());
    Arithmetic { backend: "cpu".to_owned(), features: features.join(" ") }
}

/// The data caches of the first core, where the system tells: `L1=32K`, `L2=1024K`, `L3=32768K`.
fn caches() -> Vec<String> {
    let folder = std::path::Path::new("/sys/devices/system/cpu/cpu0/cache");
    let read = |index: u32, name: &str| std::fs::read_to_string(folder.join(format!("index{index}/{name}"))).ok();
    (0..4)
        .filter(|&index| read(index, "type").is_some_and(|kind| kind.trim() != "Instruction"))
        .filter_map(|index| Some(format!("L{}={}", read(index, "level")?.trim(), read(index, "size")?.trim())))
        .collect()
}
