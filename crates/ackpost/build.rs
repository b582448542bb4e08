//! Link options of the program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions that a short run of the program calls, one symbol a line (made by `scripts/order-startup`).
const ORDER: &str = "startup-order.txt";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ORDER}");
    let target = |key: &str| std::env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") != "linux" || target("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    // The table of relocations shrinks from 1.2 MB to a few kB, which every start would read. The C library
    // understands the short form since glibc 2.36 (Debian 12).
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");

    // Memory is mapped 64 KiB at a time. The functions that a send calls are 2 MB, spread over 12 MB of code: side by
    // side they take half of the memory. Symbols that no longer exist are passed over, so an old list costs only
    // memory.
    let order = PathBuf::from(target("CARGO_MANIFEST_DIR")).join(ORDER);
    let options = [
        format!("-Wl,--symbol-ordering-file={}", order.display()),
        "-Wl,--no-warn-symbol-ordering".to_owned(),
    ];
    if target("PROFILE") == "release" && linker_takes(&options, Path::new(&target("OUT_DIR"))) {
        for option in options {
            println!("cargo::rustc-link-arg-bins={option}");
        }
    }
}

/// Returns true if the linker of this build knows the options (LLVM's does), tried on the smallest program.
fn linker_takes(options: &[String], folder: &Path) -> bool {
    let source = folder.join("probe.rs");
    if std::fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let target = std::env::var("TARGET").unwrap_or_default();
    let mut probe = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    probe.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    probe
        .arg("--target")
        .arg(target)
        .arg("--out-dir")
        .arg(folder)
        .arg(&source);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        probe.arg("-C").arg(option);
    }
    for option in options {
        probe.arg("-C").arg(format!("link-arg={option}"));
    }
    probe.output().is_ok_and(|done| done.status.success())
}
