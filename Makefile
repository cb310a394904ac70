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

# $(call given,NAME) is the value of a variable that this make was called with: the environment may have others of its name.
given = $(if $(filter command,$(origin $(1))),$($(1)))

.PHONY: run
run: build ## serve the API on this machine: PORT=3000, STAGE=test, DATA=FILE or MEMORY=1, DYNAMO_ENDPOINT=URL
	@exec $(TARGET)/debug/local $(if $(call given,PORT),--port '$(PORT)') $(if $(call given,HOST),--host '$(HOST)') \
		$(if $(call given,STAGE),--stage '$(STAGE)') $(if $(call given,DATA),--data '$(DATA)') $(if $(call given,MEMORY),--memory)

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
