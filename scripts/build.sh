#!/bin/sh
# Builds the functions in .aws-sam/build for ARCH=arm64 (the default) or x86_64, or keeps the build
# of the same commit, so that each stage gets what was tested on another. Prints the digests.
. "$(dirname "$0")/common.sh"

architecture=${ARCH:-arm64}
case $architecture in
arm64) setting=CARGO_LAMBDA_BUILD.ARM64 machine=183 ;;
x86_64) setting=CARGO_LAMBDA_BUILD.X86_64 machine=62 ;;
*) fail "Architecture is '$architecture', but must be arm64 or x86_64." ;;
esac

# digests prints the digest of each executable and of the built template, with its path.
digests() {
	set +f
	set -- .aws-sam/build/*/bootstrap .aws-sam/build/template.yaml
	set -f
	if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

# is_built succeeds if .aws-sam/build still is what built.txt says: the build of this commit.
is_built() {
	[ "$(git status --porcelain 2>/dev/null || echo unknown)" = '' ] &&
		[ "$(head -n 1 .aws-sam/built.txt 2>/dev/null)" = "$commit $architecture" ] &&
		[ "$(digests)" = "$(sed 1d .aws-sam/built.txt)" ]
}

commit=$(commit)
if is_built; then
	echo "Using the build of the commit $commit for $architecture:"
	digests
	exit
fi

need sam cargo cargo-lambda
echo "Building the functions for $architecture. The first build takes some minutes."
# The SAM CLI runs cargo from the PATH. This wrapper adds the list of crates to the executables, as
# `make package` does.
if has_auditable; then
	printf '#!/bin/sh\nexec "%s" auditable "$@"\n' "$(command -v cargo)" >"$scratch/cargo"
	chmod +x "$scratch/cargo"
fi
# For x86_64, the SAM CLI passes no architecture to cargo-lambda, which then builds for this
# machine. cargo-lambda also reads its options from variables such as this one. A shell cannot
# export a variable whose name contains a dot, so env sets it.
PATH=$scratch:$PATH env "$setting=true" \
	sam build --config-env "$section" --parameter-overrides "Architecture=$architecture"

# Byte 18 of the ELF header is the number of the processor.
set +f
for executable in .aws-sam/build/*/bootstrap; do
	[ "$(od -An -tu1 -j18 -N1 "$executable" | tr -d ' ')" = "$machine" ] ||
		fail "$executable was not built for $architecture, so nothing was deployed." \
			"Deploy from a machine with that processor, or with the other Architecture."
done
set -f
digests
{ echo "$commit $architecture" && digests; } >.aws-sam/built.txt
