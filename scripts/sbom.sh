#!/bin/sh
# Writes what each deployed function consists of, as a CycloneDX SBOM, beside its zip:
# target/lambda/*/sbom.cdx.json, for ARCH=arm64 (the default) or x86_64.
. "$(dirname "$0")/common.sh"

case ${ARCH:-arm64} in
arm64) target=aarch64-unknown-linux-gnu ;;
x86_64) target=x86_64-unknown-linux-gnu ;;
*) fail "ARCH is '$ARCH', but must be arm64 or x86_64." ;;
esac
need cargo
cargo install --quiet --locked --root .venv cargo-cyclonedx@0.5.9

# What Cargo reports of a workspace has the features that any member asks for. In a workspace of the
# functions alone, they are those as deployed.
functions=$(sed -n 's/^ *Binary: //p' template.yaml)
workspace=$scratch/workspace
mkdir -p "$workspace/crates"
cp Cargo.lock "$workspace"
sed 's/^members = .*/members = ["crates\/*"]/' Cargo.toml >"$workspace/Cargo.toml"
for crate in users-core $functions; do
	cp -R "crates/$crate" "$workspace/crates"
done

# With the time of the commit, the same commit has the same SBOM.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
cargo cyclonedx --quiet --manifest-path "$workspace/Cargo.toml" --target "$target" \
	--format json --spec-version 1.5 --describe binaries --no-build-deps
for function in $functions; do
	sbom=target/lambda/$function/sbom.cdx.json
	mkdir -p "${sbom%/*}"
	# Paths of this machine are nobody's business.
	sed "s|$workspace/||g" "$workspace/crates/$function/${function}_bin.cdx.json" >"$sbom"
	echo "$sbom: $(grep -c '"purl"' "$sbom") components"
done
