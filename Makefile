# The verbs of this repository. `make` alone lists them. It, `run`, `test` and `lint` need Rust, a C compiler, a shell
# and coreutils, and nothing else.

# Where Cargo builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## list these verbs
	@while IFS= read -r line; do case $$line in [a-z]*:*'## '*) \
		printf '  make %-17s %s\n' "$${line%%:*}" "$${line##*## }";; esac; done < Makefile

.PHONY: build
build: # the local service and the six functions, for this machine
	@cargo build --workspace --bins

.PHONY: run
run: build ## serve the API on this machine: PORT=3000, STAGE=test, DATA=FILE or MEMORY=1, DYNAMO_ENDPOINT=URL
	@exec $(TARGET)/debug/local $(if $(PORT),--port '$(PORT)') $(if $(HOST),--host '$(HOST)') $(if $(STAGE),--stage '$(STAGE)') \
		$(if $(DATA),--data '$(DATA)') $(if $(MEMORY),--memory)

.PHONY: test
test: ## run every test that needs neither network nor AWS
	@cargo test --workspace

.PHONY: test-handlers
test-handlers: ## test the handlers on DynamoDB Local in Docker, or embedded: DYNAMODB=docker|embedded forces one
	@tests/with-dynamodb cargo test --package tests --test handlers

.PHONY: test-end-to-end
test-end-to-end: ## test over HTTP: API_ENDPOINT=URL, else the URL in api.txt, else the local service; deletes all users
	@API_ENDPOINT="$${API_ENDPOINT:-$$(cat api.txt 2>/dev/null || true)}" cargo test --package tests --test end_to_end

.PHONY: lint
lint: ## check formatting, clippy's lints and the documentation; warnings are errors
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- --deny warnings
	@RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --document-private-items
