#!/bin/sh
# Breaks the code in one place at a time, and runs the fast suites: one of them must fail. SINCE=REF
# breaks only lines that differ from that commit. target/mutants.out/missed.txt lists what no suite
# noticed.
set -eu
cd "$(dirname "$0")/.."

cargo install --quiet --locked --root .venv cargo-mutants@27.1.0
set -- --workspace --output target
if [ -n "${SINCE:-}" ]; then
	git diff "$SINCE" -- '*.rs' >target/mutants.diff
	if [ ! -s target/mutants.diff ]; then
		echo "No Rust file differs from $SINCE." >&2
		exit
	fi
	set -- "$@" --in-diff target/mutants.diff
fi
exec .venv/bin/cargo-mutants mutants "$@"
