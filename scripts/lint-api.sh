#!/bin/sh
# Checks openapi.yaml. Every rule that Redocly recommends is an error.
set -eu
cd "$(dirname "$0")/.."

command -v npx >/dev/null || {
	echo "npx is missing. On Debian: apt install npm. On macOS: brew install node." >&2
	exit 1
}
REDOCLY_TELEMETRY=off
REDOCLY_SUPPRESS_UPDATE_NOTICE=true
export REDOCLY_TELEMETRY REDOCLY_SUPPRESS_UPDATE_NOTICE
npx --yes @redocly/cli@2.77.0 lint --extends=recommended-strict openapi.yaml
