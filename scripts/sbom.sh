#!/bin/sh
# Writes CycloneDX SBOMs: of each deployed function, beside its zip (target/lambda/*/sbom.cdx.json),
# for ARCH=arm64 (the default) or x86_64; or with the argument `local`, of the local service for this
# machine, beside its archive in target/dist.
. "$(dirname "$0")/common.sh"

need cargo
case ${1:-}:${ARCH:-arm64} in
local:*) target=$(rustc -vV | sed -n 's/^host: //p') ;;
:arm64) target=aarch64-unknown-linux-gnu ;;
:x86_64) target=x86_64-unknown-linux-gnu ;;
*) fail "ARCH is '$ARCH', but must be arm64 or x86_64." ;;
esac
cargo install --quiet --locked --root .venv cargo-cyclonedx@0.5.9

# Cargo reports dependencies with the features that any member of the workspace enables. A workspace
# of the functions alone has the features that are deployed.
functions=$(sed -n 's/^ *Binary: //p' template.yaml)
workspace=$scratch/workspace
mkdir -p "$workspace/crates"
cp Cargo.lock "$workspace"
sed 's/^members = .*/members = ["crates\/*"]/' Cargo.toml >"$workspace/Cargo.toml"
for crate in users-core $functions ${1:-}; do
	cp -R "crates/$crate" "$workspace/crates"
done

# The time of the commit makes the SBOM of a commit reproducible.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
cargo cyclonedx --quiet --manifest-path "$workspace/Cargo.toml" --target "$target" \
	--format json --spec-version 1.5 --describe binaries --no-build-deps
# write EXECUTABLE FILE
write() {
	mkdir -p "${2%/*}"
	# The SBOM must not contain paths of this machine.
	sed "s|$workspace/||g" "$workspace/crates/$1/${1}_bin.cdx.json" >"$2"
	echo "$2: $(grep -c '"purl"' "$2") components"
}
if [ "${1:-}" = local ]; then
	write local "target/dist/user-profile-api-local-$target.cdx.json"
	exit
fi
for function in $functions; do
	write "$function" "target/lambda/$function/sbom.cdx.json"
done
