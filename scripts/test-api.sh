#!/bin/sh
# Runs a suite over HTTP: test-api.sh end_to_end|smoke. It tests the API at API_ENDPOINT, else at
# the URL in api.txt, else a local service. The suites delete only the users that they create,
# unless WIPE=1 allows the test that deletes all users.
set -eu
cd "$(dirname "$0")/.."

if [ -n "${API_ENDPOINT:-}" ]; then
	why='API_ENDPOINT is set'
elif [ -s api.txt ]; then
	API_ENDPOINT=$(cat api.txt)
	why='api.txt has its URL; delete the file to test a local service'
else
	API_ENDPOINT=
	why='API_ENDPOINT is not set and there is no api.txt'
fi
export API_ENDPOINT
echo "Testing ${API_ENDPOINT:-a local service}, because $why." >&2
exec cargo test --package tests --test "$1"
