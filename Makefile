# `make` lists the targets. `run`, `test` and `lint` need only Rust, a C compiler, and a POSIX shell
# with its tools; `test` also needs curl.

# The variables that each target accepts on the command line. Others are rejected as mistyped,
# except those that tools read.
OF_CHECKS := DYNAMODB DYNAMODB_IMAGE DYNAMO_ENDPOINT
OF_SERVICE := CORS DATA DEBUG DYNAMODB_PORT DYNAMO_ENDPOINT HOST MEMORY PARAMS PORT STAGE
OF_run := $(OF_SERVICE)
OF_watch := $(OF_SERVICE)
OF_seed := API_KEY N PORT STAGE
OF_reset := API_KEY PORT STAGE YES
OF_test := CASES
OF_test-handlers := $(OF_CHECKS)
OF_test-end-to-end := API_ENDPOINT API_KEY AUTH_TYPE WIPE YES
OF_smoke := API_ENDPOINT API_KEY AUTH_TYPE
OF_test-fuzz := CASES
OF_test-soak := CASES
OF_test-api := N SEED
OF_mutants := SINCE
OF_bench := SAVE
OF_budget := UPDATE
OF_package := ARCH
OF_sbom := ARCH
OF_deploy := PARAMS STAGE
OF_destroy := STAGE YES
OF_ping := STAGE
OF_api-key := STAGE
OF_auth-type := STAGE
OF_logs := STAGE
OF_traces := STAGE
OF_TOOLS := AWS_% CARGO CARGO_% MAKE% NO_COLOR PATH RUST% SAM_% SHELL SSL_CERT_%
on_command_line := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
accepted := $(sort $(foreach target,$(MAKECMDGOALS),$(OF_$(target))))
$(foreach name,$(filter-out $(accepted) $(OF_TOOLS),$(on_command_line)),\
	$(error make $(MAKECMDGOALS) does not accept the variable '$(name)'. It accepts: \
	$(or $(accepted),none)))
# Passes on the values from the command line unchanged: make would expand $(shell ...) in them.
$(foreach name,$(filter-out MAKE%,$(on_command_line)),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name)))

.PHONY: help
help: ## list these targets
	@while IFS= read -r line; do case $$line in \
		[a-z]*:*'## '*) printf '  make %-17s %s\n' "$${line%%:*}" "$${line##*## }";; \
		'## '*) printf '%25s%s\n' '' "$${line#\#\# }";; esac; done < Makefile

# A target that needs a program has the prerequisite need-PROGRAM, so it fails before it builds.
WHERE_cargo := Install Rust from https://rustup.rs, then open a new terminal.
WHERE_cc := Install a C compiler. On Debian: apt install gcc libc6-dev. \
	On macOS: xcode-select --install.
WHERE_curl := Install it. On Debian: apt install curl.
WHERE_wrk := Install it. On Debian: apt install wrk. On macOS: brew install wrk.
WHERE_valgrind := Install it. On Debian: apt install valgrind. It runs on Linux only.
need-%:
	@command -v $* >/dev/null || { echo '$* is missing. $(WHERE_$*)' >&2; exit 1; }

# What only the program would reject after minutes of building.
need-settings:
	@case $${STAGE-} in *[!a-zA-Z0-9_-]*) echo "STAGE cannot be '$$STAGE': use letters, digits," \
		"hyphens and underscores" >&2; exit 2;; esac
	@case $${PORT-}$${DYNAMODB_PORT-} in *[!0-9]*) echo "PORT and DYNAMODB_PORT are numbers from 1" \
		"to 65535" >&2; exit 2;; esac

.PHONY: build
build: need-cargo need-cc ## the local service and the functions, for this machine
	@cargo build --workspace --bins

# $(call given,NAME) is the value of a variable on the command line, not in the environment.
given = $(if $(filter override,$(origin $(1))),$($(1)))

# These targets read their variables from the environment, to which make exports those on its
# command line.
# For breakpoints in handlers, and their variables.
DEBUGGABLE := --config profile.dev.package.users-core.opt-level=0 \
	--config 'profile.dev.package.users-core.debug="full"'

.PHONY: run
run: need-cargo need-cc need-settings ## serve the API on this machine: PORT=3000, STAGE=test,
## DATA=FILE or MEMORY=1 or DYNAMO_ENDPOINT=URL,
## HOST=ADDRESS, CORS=ORIGINS, PARAMS='Name=Value ...',
## DEBUG=1, DYNAMODB_PORT=8000
	@service=$$(scripts/executable local --workspace --bins $(if $(DEBUG),$(DEBUGGABLE))) && \
		exec "$$service"

.PHONY: watch
watch: run ## as run, and build again when a source file is saved
watch: export WATCH := 1

.PHONY: dist
dist: need-cargo need-cc ## pack the local service for machines without Rust, in
## target/dist
	@scripts/dist.sh

.PHONY: seed
seed: need-curl ## add a few dozen users to the API that make run serves:
## N=36, PORT=3000, STAGE=test, API_KEY=
	@scripts/seed

.PHONY: reset
reset: need-curl ## delete all users of the API that make run serves:
## PORT=3000, STAGE=test, API_KEY=, YES=1 does not ask
	@scripts/reset

.PHONY: test
test: need-cargo need-cc need-curl ## run every test that needs neither a network nor AWS
	@env -u API_ENDPOINT -u DYNAMO_ENDPOINT cargo test --workspace --no-fail-fast

.PHONY: test-handlers
test-handlers: need-cargo need-cc ## test the handlers on DynamoDB Local in Docker, and
## compare it with the embedded DynamoDB, which is used
## without Docker: DYNAMODB=docker|embedded forces one,
## DYNAMO_ENDPOINT=URL names another
	@scripts/with-dynamodb sh -c 'exec cargo test --workspace --no-fail-fast --test handlers \
		--test engines -- $${DYNAMO_ENDPOINT:+--include-ignored}'

.PHONY: test-end-to-end
test-end-to-end: need-cargo need-cc ## test an API over HTTP: at API_ENDPOINT=URL, else at the
## URL in api.txt, else a local service; WIPE=1 allows
## the test that deletes all users; YES=1 allows stages
## that are not called test
	@scripts/test-api.sh end_to_end

.PHONY: test-fuzz
test-fuzz: need-cargo need-cc ## test with CASES=100000 generated cases: 50 % are
## events, 40 % operations compared with a model, 10 %
## DynamoDB responses. make test runs 1,000
	@CASES="$${CASES:-100000}" cargo test --workspace --test fuzz -- --nocapture

.PHONY: test-soak
test-soak: need-cargo need-cc ## invoke each function CASES=20000 times, a quarter
## with a fault: no process exits or grows
	@CASES="$${CASES:-20000}" cargo test --workspace --test soak -- --nocapture

.PHONY: mutants
mutants: need-cargo need-cc ## break the code in one place at a time; the fast suites
## must fail: SINCE=REF breaks only what changed
	@scripts/mutants.sh

.PHONY: lint
lint: need-cargo need-cc ## check formatting, clippy's lints and the documentation
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- --deny warnings
	@RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --document-private-items

.PHONY: audit
audit: need-cargo ## check the dependencies' licences, sources and versions,
## and, over the network, their vulnerabilities
	@cargo install --quiet --locked --root .venv cargo-deny@0.20.2
	@.venv/bin/cargo-deny --workspace --locked check bans licenses sources
	@.venv/bin/cargo-deny --workspace --locked check advisories

# --- The specification

.PHONY: lint-api
lint-api: ## check openapi.yaml with redocly, which npx downloads
	@scripts/lint-api.sh

.PHONY: test-api
test-api: need-cargo need-cc ## test a local service with requests that schemathesis
## generates from openapi.yaml: SEED=, N=1000 for each
## operation
	@scripts/fuzz-api.sh

.PHONY: test-clients
test-clients: need-cargo need-cc ## test a local service with generated clients: in
## TypeScript, Python, Go and Rust
	@scripts/test-clients.sh

.PHONY: collection
collection: ## generate target/users.postman_collection.json with npx,
## for Postman, Bruno and Insomnia
	@scripts/collection.sh

# The functions that template.yaml deploys. Their packages and executables have the same names.
FUNCTIONS := $(shell sed -n 's/^ *Binary: //p' template.yaml)

# --- Measuring. `release` names each package, because Cargo unifies the features of all packages
# that it builds. The measurements have a separate profile, so that building them does not replace
# the floor.

MEASURE := cargo bench --profile measure --package bench --bench measure --

.PHONY: release
release: need-cargo need-cc ## the functions as deployed but built for this machine, and the floor
	@cargo build --release $(addprefix --package ,$(FUNCTIONS) bench)

.PHONY: test-load
test-load: need-wrk release ## send a release build of the local service requests of
## every operation for 60 s; print latencies and CPU time
	@PROFILE=release scripts/with-local-service scripts/load/run

.PHONY: bench
bench: release ## measure starts, invocations, sizes, memory and billed
## time, in 6 minutes: SAVE=1 writes
## docs/benchmarks.md
	@$(MEASURE) $(if $(call given,SAVE),--save)

.PHONY: budget
budget: need-valgrind release ## check zip sizes and instruction counts against
## crates/bench/budget.toml: UPDATE=1 writes it
	@$(MEASURE) budget $(if $(call given,UPDATE),--update)

# --- Deploying. STAGE names a stage of samconfig.toml: `test`, the default, or `prod`.
# PARAMS='Name=Value ...' sets parameters of template.yaml, which the stage keeps.

.PHONY: tools
tools: ## install in .venv what the targets below need: the SAM
## and AWS CLIs, cargo-lambda, cargo-auditable, linters
	@scripts/tools.sh

.PHONY: package
package: need-cargo ## build the deployable zips,
## target/lambda/*/bootstrap.zip: ARCH=arm64|x86_64
	@scripts/package.sh

.PHONY: sbom
sbom: need-cargo ## write the components of each function,
## target/lambda/*/sbom.cdx.json: ARCH=arm64|x86_64
	@scripts/sbom.sh

.PHONY: deploy
deploy: ## deploy a stage and write its URL to api.txt:
## STAGE=test|prod, PARAMS='Name=Value ...'
	@scripts/deploy.sh

.PHONY: ping
ping: need-curl ## ask a stage for a user that does not exist:
## STAGE=test|prod
	@scripts/stage.sh ping

.PHONY: smoke
smoke: need-cargo need-cc ## test an API with a single user, for a stage in
## production: API_ENDPOINT=URL, else as test-end-to-end
	@scripts/test-api.sh smoke

.PHONY: api-key
api-key: ## print the key of a stage with AuthType=API_KEY:
## STAGE=test|prod
	@scripts/stage.sh api-key

.PHONY: auth-type
auth-type: ## print a stage's AuthType
	@scripts/stage.sh auth-type

.PHONY: validate
validate: ## check template.yaml with SAM's lint, cfn-lint and
## checkov, and scripts with shellcheck
	@scripts/validate.sh

.PHONY: logs
logs: ## show the functions' logs as they are written:
## STAGE=test|prod
	@scripts/stage.sh logs

.PHONY: traces
traces: ## list a stage's traces of the last ten minutes:
## STAGE=test|prod
	@scripts/stage.sh traces

.PHONY: destroy
destroy: ## delete a stage's stack but not its table:
## STAGE=test|prod, YES=1 does not ask
	@scripts/stage.sh destroy
