//! Sets `cfg(chromium)` if this machine has Chromium. Tests that need it are otherwise ignored, and
//! the summary says so.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(chromium)");
    println!("cargo::rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    for directory in env::split_paths(&path).filter(|directory| directory.is_dir()) {
        println!("cargo::rerun-if-changed={}", directory.display());
        if directory.join("chromium").is_file() {
            println!("cargo::rustc-cfg=chromium");
        }
    }
}
