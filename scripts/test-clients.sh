#!/bin/sh
# Generates clients in TypeScript and Python from openapi.yaml, checks their types, and calls a
# local service with them. Skips a client whose tools are missing, and says so.
set -eu
cd "$(dirname "$0")/.."

clients=$PWD/target/clients
mkdir -p "$clients"

if command -v npm >/dev/null; then
	mkdir -p "$clients/typescript"
	cp scripts/clients/package.json scripts/clients/client.ts "$clients/typescript"
	npm install --prefix "$clients/typescript" --silent --no-audit --no-fund
	(
		cd "$clients/typescript"
		node_modules/.bin/openapi-typescript ../../../openapi.yaml --output api.d.ts
		node_modules/.bin/tsc --strict --module nodenext --target es2022 --types node client.ts
	)
	scripts/with-local-service node "$clients/typescript/client.js"
else
	echo 'skipped: the client in TypeScript, because npm is missing (apt install npm)' >&2
fi

if python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
	[ -x .venv/api/bin/python ] || python3 -m venv .venv/api
	.venv/api/bin/pip install --quiet --disable-pip-version-check --requirement scripts/requirements-api.txt
	.venv/api/bin/openapi-python-client generate --path openapi.yaml --meta none --overwrite \
		--config scripts/clients/openapi-python-client.yaml --fail-on-warning \
		--output-path "$clients/python/user_profile_api"
	PYTHONPATH=$clients/python scripts/with-local-service .venv/api/bin/python scripts/clients/client.py
else
	echo 'skipped: the client in Python, because Python 3.10 with venv is missing' >&2
fi
