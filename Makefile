# The verbs of this repository. `make` alone lists them. It, `run`, `test` and `lint` need Rust, a C compiler, a shell
# and coreutils, and nothing else.

# The variables that verbs take. Others are taken for mistyped, but for those of the tools that run.
VARIABLES := API_ENDPOINT API_KEY ARCH AUTH_TYPE CORS DATA DYNAMODB DYNAMODB_IMAGE DYNAMO_ENDPOINT HOST MEMORY N PARAMS \
	PORT SAVE SEED STAGE UPDATE WIPE YES
OF_TOOLS := AWS_% CARGO CARGO_% MAKE% NO_COLOR PATH RUST% SAM_% SHELL SSL_CERT_%
on_command_line := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(VARIABLES) $(OF_TOOLS),$(on_command_line)),\
	$(error no verb takes the variable '$(name)'. There are: $(VARIABLES)))
# What a caller gives is text, and is passed on as it is: make would expand $(shell ...) in it.
$(foreach name,$(filter $(VARIABLES),$(on_command_line)),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name)))

# Where Cargo builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## list these verbs
	@while IFS= read -r line; do case $$line in [a-z]*:*'## '*) \
		printf '  make %-17s %s\n' "$${line%%:*}" "$${line##*## }";; esac; done < Makefile

.PHONY: build
build: # the local service and the six functions, for this machine
	@cargo build --workspace --bins

# $(call given,NAME) is the value of a variable that this make was called with: the environment may have others of its name.
given = $(if $(filter override,$(origin $(1))),$($(1)))

# These verbs find their variables in the environment, where make puts those that it is called with.
.PHONY: run
run: build ## serve the API on this machine: PORT=3000, HOST=, STAGE=test, DATA=FILE or MEMORY=1, CORS=ORIGIN, PARAMS='Name=Value ...'
	@exec $(TARGET)/debug/local

.PHONY: seed
seed: ## add a few dozen users to the API that make run serves, for a try: N=36, PORT=3000, STAGE=test, API_KEY=
	@scripts/seed

.PHONY: reset
reset: ## delete all users of the API that make run serves, after asking: PORT=3000, STAGE=test, API_KEY=, YES=1 asks nothing
	@scripts/reset

.PHONY: test
test: ## run every test that needs neither network nor AWS
	@env -u API_ENDPOINT -u DYNAMO_ENDPOINT cargo test --workspace

.PHONY: test-handlers
test-handlers: ## test the handlers on DynamoDB Local in Docker, or embedded: DYNAMODB=docker|embedded forces one
	@scripts/with-dynamodb cargo test --package tests --test handlers

.PHONY: test-end-to-end
test-end-to-end: ## test over HTTP: API_ENDPOINT=URL, else the URL in api.txt, else a local service
	@scripts/test-api.sh end_to_end

.PHONY: lint
lint: ## check formatting, clippy's lints and the documentation; warnings are errors
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

# --- Measuring. Each package is named, because Cargo gives a package the features that others in the same build ask for.

.PHONY: release
release: # the six functions as they are deployed, but for this machine, and one that does nothing
	@cargo build --release $(addprefix --package ,$(FUNCTIONS) floor)

.PHONY: bench
bench: release ## measure cold and warm invocations, sizes, memory and bulk work: SAVE=1 writes docs/benchmarks.md
	@cargo bench --package bench --bench functions -- $(if $(call given,SAVE),--save)

.PHONY: budget
budget: release ## check zip sizes and instructions against crates/bench/budget.toml, with valgrind: UPDATE=1 writes it
	@cargo bench --package bench --bench budget -- $(if $(call given,UPDATE),--update)

# --- Deploying. STAGE names a stage of samconfig.toml: `test`, the default, or `prod`.
# PARAMS='Name=Value ...' gives parameters of template.yaml. A stage keeps them until it is given others.

STAGE_VERBS := tools package deploy smoke test-end-to-end api-key auth-type validate logs traces destroy

# The scripts read what the caller gives from the environment. Make passes on variables of the
# environment as they are, but expands those of its command line, and so would run a $(shell ...) in
# them. This makes them plain text first.
ifneq ($(filter $(STAGE_VERBS),$(MAKECMDGOALS)),)
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
endif

.PHONY: tools
tools: ## install what the verbs below need in .venv: SAM CLI, AWS CLI, cargo-lambda, linters
	@scripts/tools.sh

.PHONY: package
package: ## build the six deployable zips, target/lambda/*/bootstrap.zip: ARCH=arm64|x86_64
	@scripts/package.sh

.PHONY: deploy
deploy: ## deploy a stage and write its URL to api.txt: STAGE=test|prod, PARAMS='Name=Value ...'
	@scripts/deploy.sh

.PHONY: smoke
smoke: ## test the API as test-end-to-end does, but with one user only: for a stage in production
	@scripts/test-api.sh smoke

.PHONY: api-key
api-key: ## print the key of a stage that was deployed with AuthType=API_KEY: STAGE=test|prod
	@scripts/stage.sh api-key

.PHONY: auth-type
auth-type: # print a stage's AuthType
	@scripts/stage.sh auth-type

.PHONY: validate
validate: ## check template.yaml with SAM's own lint, cfn-lint and checkov, and scripts with shellcheck
	@scripts/validate.sh

.PHONY: logs
logs: ## show the functions' logs as they are written: STAGE=test|prod
	@scripts/stage.sh logs

.PHONY: traces
traces: ## show the traces of X-Ray as they come: STAGE=test|prod
	@scripts/stage.sh traces

.PHONY: destroy
destroy: ## delete a stage's stack, after asking; its table stays: STAGE=test|prod, YES=1 asks nothing
	@scripts/stage.sh destroy
