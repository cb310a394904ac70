# The verbs of this repository. `make` alone lists them. It, `run`, `test` and `lint` need Rust, a C compiler, a shell
# and coreutils, and nothing else.

# The variables that verbs take. Others are taken for mistyped, but for those of the tools that run.
VARIABLES := API_ENDPOINT API_KEY ARCH AUTH_TYPE CORS DATA DYNAMODB DYNAMODB_IMAGE DYNAMO_ENDPOINT HOST MEMORY N PARAMS \
	PORT SAVE STAGE UPDATE WIPE YES
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
test-end-to-end: ## test over HTTP: API_ENDPOINT=URL, else the URL in api.txt, else the local service; deletes all users
	@API_ENDPOINT="$${API_ENDPOINT:-$$(cat api.txt 2>/dev/null || true)}" cargo test --package tests --test end_to_end

.PHONY: lint
lint: ## check formatting, clippy's lints and the documentation; warnings are errors
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- --deny warnings
	@RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --document-private-items

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

# --- Deploying. STAGE names a section of samconfig.toml: `test`, the default, or `prod`. PARAMS='Name=Value ...' gives parameters of
# template.yaml; a deployed stage keeps the values it was given until it is given others.

TOOLS := aws-sam-cli==1.170.0 awscli==1.46.3 cargo-lambda==1.9.2 cfn-lint==1.58.0 ziglang==0.17.1
# In a virtual environment of its own: it pins other versions of what SAM needs.
CHECKOV := checkov==3.3.30

FUNCTIONS := get-all post delete-all get put delete
ARCH := arm64

SECTION := $(or $(filter-out test,$(STAGE)),default)
samconfig = $(shell sed -n '/^\[$(SECTION)\./,/^$$/s/^$(1) = "\(.*\)"/\1/p' samconfig.toml)
STACK = $(or $(call samconfig,stack_name),$(error samconfig.toml has no section for the stage '$(STAGE)'))
# Of a parameter given twice, sam takes the last; an empty value it takes only in quotes.
GIVEN = $(call samconfig,parameter_overrides) $(PARAMS)
PARAMETERS = $(patsubst %=,%="",$(GIVEN))
KNOWN = $(shell sed -n '/^Parameters:/,/^Conditions:/s/^  \([A-Za-z]*\):$$/\1/p' template.yaml)
# sam drops a parameter that it does not know: an API would be open because AuthType was mistyped.
known_parameters = $(foreach given,$(GIVEN),$(if $(filter $(firstword $(subst =, ,$(given))),$(KNOWN)),,$(error template.yaml has no parameter '$(given)'. It has: $(KNOWN)))) \
	$(if $(findstring ',$(GIVEN)),$(error a parameter cannot have quotes: $(GIVEN)))
TABLE = user-profiles$(patsubst NameSuffix=%,%,$(lastword $(filter NameSuffix=%,$(PARAMETERS))))

# $(call need,TOOL ...) fails where one is missing, and says how to get it.
need = for tool in $(1); do command -v $$tool >/dev/null || \
	{ echo "$$tool is missing: 'make tools' installs it in .venv, or put one on the PATH" >&2; exit 1; }; done
# $(call stack,QUERY) sets fact to what is asked about the stack; to nothing where there is no stack.
stack = fact="$$(aws cloudformation describe-stacks --stack-name $(STACK) --output text --query "$(1)" 2>&1)" || \
	case "$$fact" in *'does not exist'*) fact=;; *) echo "$$fact" >&2; exit 1;; esac
parameter = $(call stack,Stacks[].Parameters[?ParameterKey=='$(1)'].ParameterValue[])
# The stack's URL; nothing where there is none.
url = $$(sam list stack-outputs --stack-name $(STACK) --output json 2>/dev/null | tr -d '\n' | \
	sed -n 's/.*"OutputKey": "ApiUrl", *"OutputValue": "\([^"]*\)".*/\1/p')

tools package deploy api-key auth-type validate logs traces destroy: export PATH := $(CURDIR)/.venv/bin:$(PATH)
tools package deploy api-key auth-type validate logs traces destroy: export SAM_CLI_TELEMETRY := 0

.PHONY: tools
tools: ## install what the verbs below need in .venv: the SAM and AWS CLIs, cargo-lambda, cfn-lint, checkov
	@python3 -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check $(TOOLS)
	@python3 -m venv .venv/checkov && .venv/checkov/bin/pip install --quiet --disable-pip-version-check $(CHECKOV)
	@ln -sf ../checkov/bin/checkov .venv/bin/checkov
	@rustup target add aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu

.PHONY: package
package: ## build the six deployable zips, target/lambda/*/bootstrap.zip: ARCH=arm64|x86_64
	@$(call need,cargo-lambda)
	@cargo lambda build --release --$(subst _,-,$(ARCH)) --output-format zip $(FUNCTIONS:%=--package %)

.PHONY: deploy
deploy: ## deploy a stage and write its URL to api.txt: STAGE=test|prod, PARAMS='Name=Value ...'
	@$(known_parameters)$(call need,sam cargo-lambda)
	@parameters='$(PARAMETERS)'; \
	if ! command -v aws >/dev/null; then \
		echo "aws is missing, so it is not looked first whether something is in the way: 'make tools' installs it in .venv" >&2; \
	else \
		aws sts get-caller-identity >/dev/null || exit 1; \
		$(call stack,Stacks[].StackStatus); \
		if [ "$$fact" = ROLLBACK_COMPLETE ]; then \
			echo 'The first deployment of $(STACK) failed, and nothing is left of it: deleting the stack before deploying it again'; \
			aws cloudformation delete-stack --stack-name $(STACK) && \
			aws cloudformation wait stack-delete-complete --stack-name $(STACK) && fact= || exit 1; fi; \
		case "$$fact" in ''|REVIEW_IN_PROGRESS) \
			if aws dynamodb describe-table --table-name $(TABLE) >/dev/null 2>&1; then \
				echo "The table $(TABLE) is there already: a stack that is destroyed leaves its table, so that no user is lost." >&2; \
				echo "To deploy with a new, empty table, delete this one: aws dynamodb delete-table --table-name $(TABLE)" >&2; \
				echo "To keep its users, see 'The table outlives its stack' in README.md." >&2; exit 1; fi;; \
		esac; \
		$(call parameter,Architecture); \
		[ -z "$$fact" ] || parameters="Architecture=$$fact $$parameters"; \
		$(call parameter,ApiLogs); \
		if [ -z "$$fact" ]; then \
			role="$$(aws apigateway get-account --query cloudwatchRoleArn --output text)" || exit 1; \
			case "$$role" in arn:*) parameters="ApiLogs=ExistingRole $$parameters";; *) parameters="ApiLogs=NewRole $$parameters";; esac; \
		fi; \
	fi; \
	sam build --config-env $(SECTION) --parameter-overrides $$parameters && \
	sam deploy --config-env $(SECTION) --parameter-overrides $$parameters
	@url="$(url)"; [ -n "$$url" ] || { echo 'the stack $(STACK) has no output ApiUrl' >&2; exit 1; }; \
	echo "$$url" > api.txt; echo "$(STACK) is at $$url, as api.txt says"

.PHONY: api-key
api-key: ## print the key of a stage that was deployed with AuthType=API_KEY: STAGE=test|prod
	@$(call need,aws)
	@$(call stack,Stacks[].Outputs[?OutputKey=='ApiKeyId'].OutputValue[]); [ -z "$$fact" ] || \
		aws apigateway get-api-key --api-key "$$fact" --include-value --query value --output text

.PHONY: auth-type
auth-type: # print a stage's AuthType
	@$(call need,aws)
	@$(call parameter,AuthType); echo "$$fact"

.PHONY: validate
validate: ## check template.yaml with SAM's own lint, cfn-lint and checkov
	@$(call need,sam cfn-lint checkov)
	@sam validate --lint --region us-east-1
	@cfn-lint template.yaml
	@checkov

.PHONY: logs
logs: ## show the functions' logs as they are written: STAGE=test|prod
	@$(call need,sam)
	@sam logs --stack-name $(STACK) --tail

.PHONY: traces
traces: ## show the traces of X-Ray as they come: STAGE=test|prod
	@$(call need,sam)
	@sam traces --tail

.PHONY: destroy
destroy: ## delete a stage's stack, after asking; its table stays: STAGE=test|prod, YES=1 asks nothing
	@$(call need,sam)
	@[ -n '$(YES)' ] || { printf 'This deletes the stack $(STACK); its table stays. Type the name of the stack to go on: '; \
		read -r answer; [ "$$answer" = '$(STACK)' ]; } || { echo 'Nothing was deleted'; exit 1; }
	@url="$(url)"; sam delete --stack-name $(STACK) --no-prompts && \
	if [ -n "$$url" ] && [ "$$(cat api.txt 2>/dev/null)" = "$$url" ]; then rm api.txt; fi
