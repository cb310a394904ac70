#!/bin/sh
# Installs in .venv what the targets for stages need: the SAM CLI, cargo-lambda, cargo-auditable,
# cfn-lint, shellcheck, checkov and, if there is none, the AWS CLI.
set -eu
cd "$(dirname "$0")/.."

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
	echo "Python 3.10 or newer with venv is missing. On Debian: apt install python3-venv." \
		"On macOS: brew install python." >&2
	exit 1
}
aws=$(command -v aws || true)

echo "Installing in .venv the tools that scripts/requirements*.txt and this script name, about 1 GB." \
	"The first time, this takes 5 to 10 minutes."
python3 -m venv .venv
echo "SAM CLI, cargo-lambda, cfn-lint, shellcheck, zig ..."
.venv/bin/pip install --quiet --disable-pip-version-check --requirement scripts/requirements.txt
case ${aws:-$PWD/.venv/bin/aws} in
"$PWD"/.venv/*) .venv/bin/pip install --quiet --disable-pip-version-check \
	--requirement scripts/requirements-aws.txt ;;
*) echo "Using the AWS CLI that is installed: $aws" ;;
esac
echo "checkov ..."
python3 -m venv .venv/checkov
.venv/checkov/bin/pip install --quiet --disable-pip-version-check \
	--requirement scripts/requirements-checkov.txt
ln -sf ../checkov/bin/checkov .venv/bin/checkov

command -v rustup >/dev/null || {
	echo "rustup is missing. It installs what cross-compiling needs: see https://rustup.rs." >&2
	exit 1
}
echo "cargo-auditable and the targets of the functions ..."
cargo install --quiet --locked --root .venv cargo-auditable@0.7.7
rustup target add aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu
