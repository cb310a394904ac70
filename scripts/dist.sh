#!/bin/sh
# Packs the local service with everything it needs to run without Rust:
# target/dist/user-profile-api-local-TARGET.tar.gz and its checksum. PROFILE=debug packs a debug build.
set -eu
cd "$(dirname "$0")/.."

functions=$(sed -n 's/^ *Binary: //p' template.yaml)
if [ "${PROFILE:-release}" = debug ]; then
	local=$(scripts/executable local --workspace --bins)
else
	# As `make release` builds the functions: each with its own features.
	# shellcheck disable=SC2086 # These are several packages.
	scripts/executable get --release $(printf -- '--package %s ' $functions) >/dev/null
	local=$(scripts/executable local --release --package local)
fi

name=user-profile-api-local-$(rustc -vV | sed -n 's/^host: //p')
dist=${DIST:-target/dist}
rm -rf "${dist:?}/$name"
mkdir -p "$dist/$name"
cp template.yaml openapi.yaml docs/api.md LICENSE-APACHE LICENSE-MIT "$dist/$name"
for executable in local $functions; do
	cp "${local%/*}/$executable" "$dist/$name"
	# A release build is stripped already.
	[ "${PROFILE:-release}" = release ] || strip -S "$dist/$name/$executable"
done
cat >"$dist/$name/README.md" <<'README'
# The User Profile API on your machine

Start `./local`, and open the page whose address it prints. `./local --help` lists the options.
Ctrl-C stops it. Users are kept in `.data/users.db` of the directory in which you start it.

`api.md` describes the API; `openapi.yaml` specifies it. On macOS, allow the programs first:
`xattr -dr com.apple.quarantine .`
README
tar -C "$dist" -czf "$dist/$name.tar.gz" "$name"
rm -rf "${dist:?}/$name"
cd "$dist"
if command -v sha256sum >/dev/null; then sum=sha256sum; else sum='shasum -a 256'; fi
$sum "$name.tar.gz" >"$name.tar.gz.sha256"
echo "$dist/$name.tar.gz"
