# Shared by the scripts for stages. Each starts with:  . "$(dirname "$0")/common.sh"
# shellcheck shell=sh
#
# The scripts read the caller's variables (STAGE, PARAMS, ARCH and so on) from the environment, and
# never let a shell evaluate them.
set -euf
cd "$(dirname "$0")/.."

scratch=$(mktemp -d "${TMPDIR:-/tmp}/stage.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# fail LINE... prints the lines as an error and exits.
fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

# The tools from `make tools` have pinned versions, so they take precedence over others on the PATH.
# The AWS CLI is the exception: PyPI lacks its version 2, so one on the PATH takes precedence over
# .venv's.
aws_cli=$(command -v aws || true)
PATH=$PWD/.venv/bin:$PATH
SAM_CLI_TELEMETRY=0
AWS_PAGER=
export PATH SAM_CLI_TELEMETRY AWS_PAGER
aws() { command "${aws_cli:-aws}" "$@"; }

# need TOOL... fails unless every tool is installed.
need() {
	for tool; do
		case $tool in
		aws) [ -n "$aws_cli" ] || [ -x .venv/bin/aws ] && continue ;;
		*) command -v "$tool" >/dev/null && continue ;;
		esac
		fail "$tool is missing. Install it in .venv with 'make tools', or put it on the PATH."
	done
}

# has_auditable succeeds if cargo-auditable, which adds the list of crates to executables, is
# installed.
has_auditable() {
	command -v cargo-auditable >/dev/null || {
		echo "cargo-auditable is missing, so the executables will not list their crates." \
			"'make tools' installs it." >&2
		return 1
	}
}

# need_credentials fails unless AWS accepts the caller's credentials.
need_credentials() {
	need aws
	! aws sts get-caller-identity --output text >/dev/null 2>"$scratch/errors" || return 0
	cat "$scratch/errors" >&2
	! grep -Eqi 'connect|timed? ?out' "$scratch/errors" ||
		fail 'AWS cannot be reached. Check the network, a proxy, and the region.'
	fail 'AWS rejects the credentials. Run "aws configure", or set AWS_PROFILE to a profile.'
}

stage=${STAGE:-test}
case $stage in
*[!A-Za-z0-9_-]*) fail "'$stage' is not a stage: a name has only letters, digits, - and _." ;;
esac
# In samconfig.toml, the stage `test` is the section `default`, which sam uses without --config-env.
section=$stage
[ "$stage" != test ] || section=default

# samconfig KEY prints the stage's value for a key in samconfig.toml.
samconfig() {
	awk -v header="[$section." -v key="$1" '
		/^\[/ { inside = index($0, header) == 1 }
		inside && $1 == key && $2 == "=" { sub(/^[^"]*"/, ""); sub(/".*$/, ""); print; exit }
	' samconfig.toml
}

stack_name=$(samconfig stack_name)
[ -n "$stack_name" ] || fail "samconfig.toml has no stage '$stage'. It has:" \
	"$(sed -n 's/^\[\([^.]*\)\..*/  \1/p' samconfig.toml | sed 's/ default$/ test/')" \
	"docs/deploying.md says how to add one."

# stack QUERY prints what the query selects from the stack's description. It prints nothing if there
# is no stack.
stack() {
	result=0
	output=$(aws cloudformation describe-stacks --stack-name "$stack_name" \
		--output text --query "$1" 2>"$scratch/stack") || result=$?
	if [ "$result" -ne 0 ] && grep -q 'does not exist' "$scratch/stack"; then
		result=0 output=
	else
		cat "$scratch/stack" >&2
	fi
	[ "$output" = None ] || [ -z "$output" ] || printf '%s\n' "$output"
	return "$result"
}

# parameter NAME prints the value that the deployed stage has for a parameter of template.yaml.
parameter() { stack "Stacks[].Parameters[?ParameterKey=='$1'].ParameterValue[]"; }

# output NAME prints an output of the deployed stage.
output() { stack "Stacks[].Outputs[?OutputKey=='$1'].OutputValue[]"; }

# commit prints what names the source in the descriptions of the functions: the commit, and a
# checksum of what differs from it.
commit() {
	if ! head=$(git rev-parse --short=12 HEAD 2>/dev/null); then
		echo "unknown-$(cksum <template.yaml | cut -d ' ' -f 1)"
	elif [ -z "$(git status --porcelain)" ]; then
		echo "$head"
	else
		echo "$head-$(git diff HEAD | cksum | cut -d ' ' -f 1)"
	fi
}
