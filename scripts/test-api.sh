#!/bin/sh
# Runs a suite over HTTP, test-api.sh end_to_end|smoke: on the API at API_ENDPOINT, else at the URL in
# api.txt, else on a local service of its own. The suites delete the users that they create, and no
# others, unless WIPE=1 allows the tests that delete all users.
set -eu
cd "$(dirname "$0")/.."

if [ -n "${API_ENDPOINT:-}" ]; then
	why='API_ENDPOINT says so'
elif [ -s api.txt ]; then
	API_ENDPOINT=$(cat api.txt)
	why='api.txt says so'
else
	API_ENDPOINT=
	why='neither API_ENDPOINT nor api.txt names another'
fi
export API_ENDPOINT
echo "Testing ${API_ENDPOINT:-a local service}, because $why." >&2
exec cargo test --package tests --test "$1"
