#!/bin/sh
# Writes a CycloneDX SBOM of each deployed function beside its zip: target/lambda/*/sbom.cdx.json,
# for ARCH=arm64 (the default) or x86_64.
. "$(dirname "$0")/common.sh"

case ${ARCH:-arm64} in
arm64) target=aarch64-unknown-linux-gnu ;;
x86_64) target=x86_64-unknown-linux-gnu ;;
*) fail "ARCH is '$ARCH', but must be arm64 or x86_64." ;;
esac
need cargo
cargo install --quiet --locked --root .venv cargo-cyclonedx@0.5.9

# Cargo reports dependencies with the features that any member of the workspace enables. A workspace
# of the functions alone has the features that are deployed.
functions=$(sed -n 's/^ *Binary: //p' template.yaml)
workspace=$scratch/workspace
mkdir -p "$workspace/crates"
cp Cargo.lock "$workspace"
sed 's/^members = .*/members = ["crates\/*"]/' Cargo.toml >"$workspace/Cargo.toml"
for crate in users-core $functions; do
	cp -R "crates/$crate" "$workspace/crates"
done

# The time of the commit makes the SBOM of a commit reproducible.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
cargo cyclonedx --quiet --manifest-path "$workspace/Cargo.toml" --target "$target" \
	--format json --spec-version 1.5 --describe binaries --no-build-deps
for function in $functions; do
	sbom=target/lambda/$function/sbom.cdx.json
	mkdir -p "${sbom%/*}"
	# The SBOM must not contain paths of this machine.
	sed "s|$workspace/||g" "$workspace/crates/$function/${function}_bin.cdx.json" >"$sbom"
	echo "$sbom: $(grep -c '"purl"' "$sbom") components"
done
