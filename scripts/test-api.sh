#!/bin/sh
# Runs a suite over HTTP: test-api.sh end_to_end|smoke. It tests the API at API_ENDPOINT, else at
# the URL in api.txt, else a local service. The suites delete only the users that they create,
# unless WIPE=1 allows the test that deletes all users. end_to_end sends more than a production stage
# should have to bear, so it tests other stages than `test` only with YES=1.
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
case $1:${API_ENDPOINT%/} in
smoke:* | *: | *:http://127.0.0.1:* | *:http://localhost:* | *:*/test) ;;
*)
	[ "${YES:-}" = 1 ] || {
		echo "$API_ENDPOINT is not a stage named test. This suite writes megabytes${WIPE:+,}" \
			"${WIPE:+and with WIPE=1 it deletes ALL USERS}. Run 'make smoke', or set YES=1 if you" \
			"want it nevertheless." >&2
		exit 1
	}
	;;
esac
echo "Testing ${API_ENDPOINT:-a local service}, because $why." >&2
exec cargo test --workspace --test "$1"
