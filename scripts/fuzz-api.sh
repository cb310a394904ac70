#!/bin/sh
# Tests a local service with thousands of requests that schemathesis generates from openapi.yaml,
# and checks the responses against it. SEED repeats a run, except for the ids that the service chooses;
# N limits the requests for each operation.
set -eu
cd "$(dirname "$0")/.."

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
	echo "Python 3.10 or newer with venv is missing. On Debian: apt install python3-venv." >&2
	exit 1
}
[ -x .venv/api/bin/python ] || python3 -m venv .venv/api
.venv/api/bin/pip install --quiet --disable-pip-version-check --requirement scripts/requirements-api.txt

seed=${SEED:-$(awk 'BEGIN { srand(); print int(rand() * 1000000000) }')}
echo "Repeat this run with: make test-api SEED=$seed${N:+ N=$N}"
# One worker, and no examples kept from earlier runs: otherwise, a seed does not repeat a run.
# shellcheck disable=SC2016 # with-local-service sets API_ENDPOINT.
exec scripts/with-local-service sh -c '
	exec .venv/api/bin/st --config-file scripts/schemathesis.toml run openapi.yaml \
		--url "$API_ENDPOINT" --seed "$1" --max-examples "$2" --workers 1 --mode all \
		--generation-database none --continue-on-failure --request-timeout 30 --no-color
' sh "$seed" "${N:-1000}"
