# The verbs of this repository. `make` alone lists them. `run`, `test` and `lint` need only Rust, a
# C compiler, a POSIX shell and its tools; `test` needs curl too.

# The variables that verbs take. Others are rejected as mistyped, except those that tools read.
VARIABLES := API_ENDPOINT API_KEY ARCH AUTH_TYPE CASES CORS DATA DYNAMODB DYNAMODB_IMAGE DYNAMO_ENDPOINT \
	HOST MEMORY N PARAMS PORT SAVE SEED STAGE UPDATE WIPE YES
OF_TOOLS := AWS_% CARGO CARGO_% MAKE% NO_COLOR PATH RUST% SAM_% SHELL SSL_CERT_%
on_command_line := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(VARIABLES) $(OF_TOOLS),$(on_command_line)),\
	$(error no verb takes the variable '$(name)'. Verbs take: $(VARIABLES)))
# Passes values from the command line on unchanged: make would expand $(shell ...) in them.
$(foreach name,$(filter $(VARIABLES),$(on_command_line)),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name)))

# Where Cargo builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## list these verbs
	@while IFS= read -r line; do case $$line in \
		[a-z]*:*'## '*) printf '  make %-17s %s\n' "$${line%%:*}" "$${line##*## }";; \
		'## '*) printf '%25s%s\n' '' "$${line#\#\# }";; esac; done < Makefile

# A verb that needs a program has the prerequisite need-PROGRAM, so that it fails before it builds.
WHERE_cargo := Install Rust from https://rustup.rs, then open a new terminal.
WHERE_cc := Install a C compiler. On Debian: apt install gcc libc6-dev. \
	On macOS: xcode-select --install.
WHERE_curl := Install it. On Debian: apt install curl.
WHERE_wrk := Install it. On Debian: apt install wrk. On macOS: brew install wrk.
WHERE_valgrind := Install it. On Debian: apt install valgrind. It runs on Linux only.
need-%:
	@command -v $* >/dev/null || { echo '$* is missing. $(WHERE_$*)' >&2; exit 1; }

.PHONY: build
build: need-cargo need-cc # the local service and the functions, for this machine
	@cargo build --workspace --bins

# $(call given,NAME) is the value of a variable on the command line. The environment does not count.
given = $(if $(filter override,$(origin $(1))),$($(1)))

# These verbs read their variables from the environment, where make puts those of its command line.
.PHONY: run
run: build ## serve the API on this machine: PORT=3000, HOST=, STAGE=test,
## DATA=FILE or MEMORY=1, CORS=ORIGIN, PARAMS='Name=Value ...'
	@exec $(TARGET)/debug/local

.PHONY: seed
seed: need-curl ## add a few dozen users to the API that make run serves: N=36, PORT=3000,
## STAGE=test, API_KEY=
	@scripts/seed

.PHONY: reset
reset: need-curl ## delete all users of the API that make run serves, after asking: PORT=3000,
## STAGE=test, API_KEY=, YES=1 asks nothing
	@scripts/reset

.PHONY: test
test: need-cargo need-cc need-curl ## run every test that needs neither network nor AWS
	@env -u API_ENDPOINT -u DYNAMO_ENDPOINT cargo test --workspace

.PHONY: test-handlers
test-handlers: need-cargo need-cc ## test the handlers on DynamoDB Local in Docker, or embedded:
## DYNAMODB=docker|embedded forces one, DYNAMO_ENDPOINT=URL names another
	@scripts/with-dynamodb cargo test --package tests --test handlers

.PHONY: test-end-to-end
test-end-to-end: need-cargo need-cc ## test over HTTP: API_ENDPOINT=URL, else the URL in api.txt,
## else a local service; WIPE=1 allows the test that deletes all users
	@scripts/test-api.sh end_to_end

.PHONY: test-fuzz
test-fuzz: need-cargo need-cc ## test with 100,000 generated events, requests and responses of
## DynamoDB, some minutes: CASES=50000 of the first two
	@CASES="$${CASES:-50000}" cargo test --package tests --test fuzz

.PHONY: test-soak
test-soak: need-cargo need-cc ## invoke each function 20,000 times, with faults in a quarter of them,
## some minutes: CASES=20000
	@CASES="$${CASES:-20000}" cargo test --package tests --test soak -- --nocapture

.PHONY: lint
lint: need-cargo need-cc ## check formatting, clippy's lints and the documentation
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- --deny warnings
	@RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --document-private-items

# --- The specification.

.PHONY: openapi-3.0
openapi-3.0: # derive docs/openapi-3.0.yaml from openapi.yaml
	@scripts/openapi-3.0.sh > docs/openapi-3.0.yaml

.PHONY: lint-api
lint-api: ## check openapi.yaml with redocly, which npx downloads
	@scripts/lint-api.sh

.PHONY: test-api
test-api: ## send a local service thousands of requests that schemathesis makes from openapi.yaml: SEED=, N=1000 at most for each operation
	@cargo build --workspace --bins
	@scripts/fuzz-api.sh

.PHONY: test-clients
test-clients: ## generate clients from openapi.yaml, in TypeScript and Python, and call a local service with them
	@cargo build --workspace --bins
	@scripts/test-clients.sh

.PHONY: collection
collection: ## generate target/users.postman_collection.json for Postman, Bruno and Insomnia, with npx
	@scripts/collection.sh

# The functions that template.yaml deploys, which are packages and executables of that name.
FUNCTIONS := $(shell sed -n 's/^ *Binary: //p' template.yaml)

# --- Measuring. `release` names each package, because Cargo unifies the features of what it builds.
# What measures is built with a profile of its own, so that it does not replace the floor there.

MEASURE := cargo bench --profile measure --package bench --bench measure --

.PHONY: release
release: need-cargo need-cc # the functions as deployed, but for this machine, and an empty one
	@cargo build --release $(addprefix --package ,$(FUNCTIONS) bench)

.PHONY: test-load
test-load: need-wrk release ## send a release build of the local service all operations for 60 s,
## on 64 connections, and print latencies and costs
	@cargo build --release --package local
	@PROFILE=release scripts/with-local-service scripts/load/run

.PHONY: bench
bench: release ## measure cold and warm invocations, sizes, memory and deleting all users:
## SAVE=1 writes docs/benchmarks.md
	@$(MEASURE) functions $(if $(call given,SAVE),--save)

.PHONY: budget
budget: need-valgrind release ## check zip sizes and instructions against crates/bench/budget.toml:
## UPDATE=1 writes it
	@$(MEASURE) budget $(if $(call given,UPDATE),--update)

# --- Deploying. STAGE names a stage of samconfig.toml: `test`, the default, or `prod`.
# PARAMS='Name=Value ...' sets parameters of template.yaml, which the stage keeps.

STAGE_VERBS := tools package deploy smoke test-end-to-end api-key auth-type validate logs traces \
	destroy

# The scripts read their variables from the environment. Make passes on variables of the environment
# unchanged, but expands those of its command line, and would run a $(shell ...) in them. This makes
# them plain text first.
ifneq ($(filter $(STAGE_VERBS),$(MAKECMDGOALS)),)
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
endif

.PHONY: tools
tools: ## install in .venv what the verbs below need: SAM and AWS CLI, cargo-lambda, linters
	@scripts/tools.sh

.PHONY: package
package: need-cargo ## build the deployable zips, target/lambda/*/bootstrap.zip:
## ARCH=arm64|x86_64
	@scripts/package.sh

.PHONY: deploy
deploy: need-cargo ## deploy a stage and write its URL to api.txt: STAGE=test|prod,
## PARAMS='Name=Value ...'
	@scripts/deploy.sh

.PHONY: smoke
smoke: need-cargo need-cc ## test the API with one user only, for a stage in production:
## API_ENDPOINT=URL, else as test-end-to-end
	@scripts/test-api.sh smoke

.PHONY: api-key
api-key: ## print the key of a stage with AuthType=API_KEY: STAGE=test|prod
	@scripts/stage.sh api-key

.PHONY: auth-type
auth-type: # print a stage's AuthType
	@scripts/stage.sh auth-type

.PHONY: validate
validate: ## check template.yaml with SAM's lint, cfn-lint and checkov, scripts with shellcheck
	@scripts/validate.sh

.PHONY: logs
logs: ## show the functions' logs as they are written: STAGE=test|prod
	@scripts/stage.sh logs

.PHONY: traces
traces: ## show X-Ray's traces as they arrive: STAGE=test|prod
	@scripts/stage.sh traces

.PHONY: destroy
destroy: ## delete a stage's stack, after asking; its table stays: STAGE=test|prod,
## YES=1 asks nothing
	@scripts/stage.sh destroy
