#!/bin/sh
# Generates clients in TypeScript, Python, Go and Rust from openapi.yaml, compiles them, and calls a
# local service with them. Skips a client whose tools are missing, and says so.
set -eu
cd "$(dirname "$0")/.."

source=$PWD/scripts/clients
clients=$PWD/target/clients
bin=.venv/clients/bin
mkdir -p "$clients"

# has TOOL CLIENT succeeds if the tool that the client needs is installed.
has() {
	command -v "$1" >/dev/null || {
		echo "skipped: $2, because $1 is missing" >&2
		return 1
	}
}

# openapi_generator ARGUMENT... generates a client with OpenAPI Generator.
openapi_generator() {
	$bin/openapi-generator-cli generate --input-spec openapi.yaml "$@" >"$clients/log" 2>&1 || {
		cat "$clients/log" >&2
		return 1
	}
}

if has npm openapi-typescript; then
	mkdir -p "$clients/typescript"
	cp "$source/package.json" "$source/openapi_typescript.ts" "$clients/typescript"
	npm install --prefix "$clients/typescript" --silent --no-audit --no-fund
	(
		cd "$clients/typescript"
		node_modules/.bin/openapi-typescript ../../../openapi.yaml --output api.d.ts
		node_modules/.bin/tsc --strict --module nodenext --target es2022 --types node \
			openapi_typescript.ts
	)
	scripts/with-local-service node "$clients/typescript/openapi_typescript.js"
fi

if has python3 'the clients in Python and Go'; then
	[ -x $bin/python ] || python3 -m venv .venv/clients
	$bin/pip install --quiet --disable-pip-version-check --requirement scripts/requirements-clients.txt
	$bin/openapi-python-client generate --path openapi.yaml --meta none --overwrite \
		--config scripts/clients/openapi-python-client.yaml --fail-on-warning \
		--output-path "$clients/python/openapi_python_client_client"
	PYTHONPATH=$clients/python scripts/with-local-service $bin/python "$source/openapi_python_client.py"

	if has java 'the clients of OpenAPI Generator'; then
		openapi_generator --generator-name python --output "$clients/generator" \
			--package-name openapi_generator_client
		PYTHONPATH=$clients/generator scripts/with-local-service $bin/python "$source/openapi_generator.py"

		if has go 'the client in Go'; then
			openapi_generator --generator-name go --output "$clients/go/profile" \
				--package-name profile --additional-properties withGoMod=false \
				--global-property apis,models,supportingFiles,apiTests=false
			cp "$source/openapi_generator.go" "$clients/go/main.go"
			printf 'module clients\n\ngo 1.18\n' >"$clients/go/go.mod"
			(cd "$clients/go" && go build -o client .)
			scripts/with-local-service "$clients/go/client"
		fi
	fi
fi

cp -R "$source/rust" "$clients"
client=$(scripts/executable rust-client --quiet --manifest-path "$clients/rust/Cargo.toml" \
	--target-dir "$clients/rust/target")
scripts/with-local-service "$client"
