#!/bin/sh
# Builds the deployable zips, target/lambda/*/bootstrap.zip: ARCH=arm64 (the default) or x86_64.
. "$(dirname "$0")/common.sh"

case ${ARCH:-arm64} in
arm64) flag=--arm64 ;;
x86_64) flag=--x86-64 ;;
*) fail "ARCH is '$ARCH', but must be arm64 or x86_64." ;;
esac
need cargo cargo-lambda

# The functions that template.yaml deploys.
set --
functions=$(sed -n 's/^ *Binary: //p' template.yaml)
for function in $functions; do
	set -- "$@" --package "$function"
done
set -- lambda build --release "$flag" --output-format zip "$@"
# Adds to each executable the list of its crates, for scanners of what is deployed.
has_auditable && set -- auditable "$@"
cargo "$@"
