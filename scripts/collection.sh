#!/bin/sh
# Generates a Postman collection from openapi.yaml. Bruno and Insomnia can import it too. Running all
# of it deletes nobody else's users.
set -eu
cd "$(dirname "$0")/.."

command -v npx >/dev/null || {
	echo "npx is missing. On Debian: apt install npm. On macOS: brew install node." >&2
	exit 1
}
file=target/users.postman_collection.json
mkdir -p target
# The exit status does not show whether openapi2postmanv2 succeeded. The file does.
rm -f "$file"
output=$(npx --yes --package=openapi-to-postmanv2@6.3.3 -- openapi2postmanv2 \
	--spec openapi.yaml --output "$file" --pretty \
	--options folderStrategy=Tags,parametersResolution=Example,enableOptionalParameters=false 2>&1) || true
[ -s "$file" ] || { printf '%s\n' "$output" >&2; exit 1; }
node scripts/clients/collection.js "$file"
echo "Import $file. Its variable baseUrl is the API's URL; a stage with a key needs the header x-api-key."
