//! Sets `cfg(chromium)` and `cfg(boto3)` if this machine has them. Tests that need one are otherwise
//! ignored, and the summary says so.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(chromium, boto3)");
    println!("cargo::rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    for directory in env::split_paths(&path).filter(|directory| directory.is_dir()) {
        println!("cargo::rerun-if-changed={}", directory.display());
        if directory.join("chromium").is_file() {
            println!("cargo::rustc-cfg=chromium");
        }
    }
    // Cargo would run this each time if it had to watch what does not exist.
    if Path::new("../.venv").exists() {
        println!("cargo::rerun-if-changed=../.venv/bin");
    }
    let imports_boto3 = |python: &str| {
        let output = Command::new(python).args(["-c", "import boto3"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if imports_boto3("python3") || imports_boto3("../.venv/bin/python3") {
        println!("cargo::rustc-cfg=boto3");
    }
}
