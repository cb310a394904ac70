#!/bin/sh
# Builds the functions, deploys the stage STAGE and writes its URL to api.txt. PARAMS='Name=Value
# ...' sets parameters of template.yaml. A deployed stage keeps the value of a parameter until
# another one is set, here or in samconfig.toml.
. "$(dirname "$0")/common.sh"

# --- Parameters: samconfig.toml's, then the caller's. If one is set twice, sam uses the last value.

known=$(sed -n '/^Parameters:/,/^Conditions:/s/^  \([A-Za-z]*\):$/\1/p' template.yaml | tr '\n' ' ')

# given NAME prints the value that this deployment sets for a parameter, or nothing if it sets none.
given() {
	value=
	for word in $overrides; do
		[ "${word%%=*}" != "$1" ] || value=${word#*=}
	done
	printf '%s\n' "$value"
}

overrides=$(printf '%s ' "$(samconfig parameter_overrides)" "${PARAMS:-}" | tr '\n\t' '  ')
set --
for word in $overrides; do
	name=${word%%=*}
	# sam ignores an unknown parameter: a mistyped AuthType would leave an API open.
	case " $known" in
	*" $name "*) ;;
	*) fail "template.yaml has no parameter '$name'. It has:" "  $known" ;;
	esac
	case $word in
	"$name") fail "'$word' has no value. Write $name=VALUE, or $name= for an empty one." ;;
	*[\'\"\\\`\$]*) fail "The value of $name must not contain quotes, backslashes or dollar signs." ;;
	esac
	# sam accepts an empty value only in quotes.
	[ "$word" != "$name=" ] || word="$name=\"\""
	set -- "$@" "$word"
done

need sam cargo cargo-lambda
need_credentials

# --- What exists already

# say_that_the_table_exists fails if the table of a new stack exists already.
say_that_the_table_exists() {
	table=user-profiles$(given NameSuffix)
	if aws dynamodb describe-table --table-name "$table" >/dev/null 2>&1; then
		fail "The table $table exists already: destroying a stack keeps its table, so that no user" \
			"is lost. To deploy with a new, empty table, delete this one with its users:" \
			"  aws dynamodb delete-table --table-name $table" \
			"To keep its users, see 'The table outlives its stack' in docs/deploying.md."
	fi
}

# say_what_is_in_the_way fails if something has a name that a new stack needs. CloudFormation would
# report it only after the build, and the SAM CLI would not say what it is.
say_what_is_in_the_way() {
	suffix=$(given NameSuffix)
	functions=$(aws lambda list-functions --output text --query \
		"Functions[?starts_with(FunctionName, 'user-profile-')].FunctionName")
	groups=$(aws logs describe-log-groups --output text --query 'logGroups[].logGroupName' \
		--log-group-name-prefix /aws/lambda/user-profile-)
	groups="$groups $(aws logs describe-log-groups --output text --query 'logGroups[].logGroupName' \
		--log-group-name-prefix /aws/apigateway/user-profile-)"
	commands=
	for name in $(named FunctionName); do
		if has "$name$suffix" "$functions"; then
			commands="$commands
  aws lambda delete-function --function-name $name$suffix"
		fi
	done
	for name in $(named LogGroupName); do
		if has "$name$suffix" "$groups"; then
			commands="$commands
  aws logs delete-log-group --log-group-name $name$suffix"
		fi
	done
	if aws cloudwatch get-dashboard --dashboard-name "user-profiles$suffix" >/dev/null 2>&1; then
		commands="$commands
  aws cloudwatch delete-dashboards --dashboard-names user-profiles$suffix"
	fi
	[ -z "$commands" ] || fail \
		"Functions, log groups or a dashboard with names that the stack $stack_name needs already" \
		"exist, perhaps because the service was built by hand. Either delete them:$commands" \
		"or deploy beside them under other names: in samconfig.toml, add NameSuffix=-2, for" \
		"example, to parameter_overrides of [$section.global.parameters]."
}

# named PROPERTY prints the names, without suffix, that template.yaml sets with the property.
named() {
	# shellcheck disable=SC2016 # ${NameSuffix} is text in the template.
	sed -n 's/^ *'"$1"': !Sub \([a-z\/-]*\)${NameSuffix}$/\1/p' template.yaml
}

# has WORD WORDS succeeds if the word is among the words.
has() {
	for word in $2; do
		[ "$word" != "$1" ] || return 0
	done
	return 1
}

# choose_api_logs creates the role for API Gateway's logs if the account has none, and prints the
# value of ApiLogs for a new stack. The role belongs to the account. A stack cannot rely on a role
# that it creates itself, because API Gateway rejects one that IAM has not propagated yet.
choose_api_logs() {
	role=$(aws apigateway get-account --query cloudwatchRoleArn --output text)
	case $role in
	arn:*)
		# API Gateway keeps the ARN of a role that was deleted.
		if aws iam get-role --role-name "${role##*/}" >/dev/null 2>"$scratch/errors"; then
			echo ExistingRole
			return
		fi
		if ! grep -q NoSuchEntity "$scratch/errors"; then
			echo "Cannot check whether the role $role exists. Assuming that it does." >&2
			echo ExistingRole
			return
		fi
		;;
	esac
	name=api-gateway-cloudwatch-logs
	echo "API Gateway has no role for its logs in this account. Creating the role $name." >&2
	aws iam create-role --role-name "$name" --description 'Lets API Gateway write its logs' \
		--tags Key=service,Value=user-profiles --assume-role-policy-document '{
			"Version": "2012-10-17",
			"Statement": [{
				"Effect": "Allow",
				"Principal": { "Service": "apigateway.amazonaws.com" },
				"Action": "sts:AssumeRole"
			}]
		}' >/dev/null 2>"$scratch/errors" ||
		grep -q EntityAlreadyExists "$scratch/errors" || fail "$(cat "$scratch/errors")"
	arn=$(aws iam get-role --role-name "$name" --query Role.Arn --output text)
	partition=${arn#arn:} partition=${partition%%:*}
	aws iam attach-role-policy --role-name "$name" --policy-arn \
		"arn:$partition:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
	attempts=0
	until aws apigateway update-account --patch-operations \
		"op=replace,path=/cloudwatchRoleArn,value=$arn" >/dev/null 2>"$scratch/errors"; do
		attempts=$((attempts + 1))
		[ "$attempts" -lt 24 ] || fail "$(cat "$scratch/errors")" \
			"API Gateway does not accept the role $name. Deploy again in a few minutes, or without" \
			"the API's access log: make deploy STAGE=$stage PARAMS=ApiLogs=None"
		sleep 5
	done
	echo ExistingRole
}

# say_what_alarms_stop fails if CodeDeploy would not start because an alarm is firing.
say_what_alarms_stop() {
	preference=$(given DeploymentPreference)
	[ -n "$preference" ] || preference=$(parameter DeploymentPreference)
	case $preference in
	'' | None) return ;;
	esac
	alarm=$(aws cloudformation describe-stack-resource --stack-name "$stack_name" --output text \
		--logical-resource-id ApiErrorsAlarm --query StackResourceDetail.PhysicalResourceId) || return
	on=$(aws cloudwatch describe-alarms --alarm-names "$alarm" --output text \
		--query "MetricAlarms[?StateValue=='ALARM'].AlarmName")
	[ -z "$on" ] || [ "$on" = None ] || fail \
		"The alarm $on is firing: clients get 5xx responses." \
		"CodeDeploy starts no gradual deployment while it fires. If this deployment is the fix," \
		"move all traffic to it at once:" \
		"  make deploy STAGE=$stage PARAMS='${PARAMS:+$PARAMS }DeploymentPreference=None'" \
		"Afterwards, return to gradual deployments:" \
		"  make deploy STAGE=$stage PARAMS=DeploymentPreference=$preference"
}

# say_what_is_kept prints the parameters that the stage keeps and that differ from template.yaml's
# defaults. A changed default does not reach a stage that is already deployed.
say_what_is_kept() {
	stack 'Stacks[].Parameters[].[ParameterKey,ParameterValue]' >"$scratch/kept"
	kept=$(awk -v given=" $overrides " '
		NR == FNR { split($0, pair, "\t"); value[pair[1]] = pair[2]; next }
		/^[A-Z]/ { inside = $1 == "Parameters:" }
		inside && /^  [A-Za-z]+:$/ { name = $1; sub(/:/, "", name) }
		inside && $1 == "Default:" {
			default_value = $2
			gsub(/"/, "", default_value)
			# choose_api_logs set ApiLogs.
			if (name in value && value[name] != default_value && name != "ApiLogs" &&
			    !index(given, " " name "="))
				printf "  %s=%s (default: %s)\n", name, value[name], default_value
		}
	' "$scratch/kept" template.yaml)
	[ -z "$kept" ] || printf '%s\n' "The stage keeps from earlier deployments:" "$kept"
}

status=$(stack 'Stacks[].StackStatus')
case $status in
'' | REVIEW_IN_PROGRESS | *_COMPLETE) ;;
*_IN_PROGRESS) fail "The stack $stack_name is being changed ($status). Wait until that is done:" \
	"  aws cloudformation describe-stacks --stack-name $stack_name" ;;
UPDATE_ROLLBACK_FAILED) fail "The stack $stack_name could not be rolled back. Find the cause," \
	"remove it, and let CloudFormation continue:" \
	"  aws cloudformation describe-stack-events --stack-name $stack_name" \
	"  aws cloudformation continue-update-rollback --stack-name $stack_name" ;;
*) fail "The stack $stack_name cannot be deployed in its state, $status. Find the cause:" \
	"  aws cloudformation describe-stack-events --stack-name $stack_name" \
	"Then delete the stack, which keeps its table, and deploy again: make destroy STAGE=$stage" ;;
esac
if [ "$status" = ROLLBACK_COMPLETE ]; then
	echo "The first deployment of $stack_name failed. Deleting its remains."
	aws cloudformation delete-stack --stack-name "$stack_name"
	aws cloudformation wait stack-delete-complete --stack-name "$stack_name"
	status=
fi
architecture=$(given Architecture)
case $status in
'' | REVIEW_IN_PROGRESS)
	say_that_the_table_exists
	kept_architecture=
	;;
*) kept_architecture=$(parameter Architecture) ;;
esac
# A stack without parameters is new, or contains only an imported table.
if [ -z "$kept_architecture" ]; then
	say_what_is_in_the_way
	if [ -z "$(given ApiLogs)" ]; then
		api_logs=$(choose_api_logs)
		set -- "ApiLogs=$api_logs" "$@"
	fi
else
	say_what_alarms_stop
	say_what_is_kept
fi

# --- The build and the deployment

# sam build does not know what the stage keeps.
architecture=${architecture:-${kept_architecture:-arm64}}
set -- "Architecture=$architecture" "$@"
case $architecture in
arm64) setting=CARGO_LAMBDA_BUILD.ARM64 machine=183 ;;
x86_64) setting=CARGO_LAMBDA_BUILD.X86_64 machine=62 ;;
*) fail "Architecture is '$architecture', but must be arm64 or x86_64." ;;
esac
# The SAM CLI runs cargo from the PATH. This wrapper adds the list of crates to the executables, as
# `make package` does.
if has_auditable; then
	printf '#!/bin/sh\nexec "%s" auditable "$@"\n' "$(command -v cargo)" >"$scratch/cargo"
	chmod +x "$scratch/cargo"
fi
# For x86_64, the SAM CLI passes no architecture to cargo-lambda, which then builds for this
# machine. cargo-lambda also reads its options from variables such as this one. A shell cannot
# export a variable whose name contains a dot, so env sets it.
PATH=$scratch:$PATH env "$setting=true" \
	sam build --config-env "$section" --parameter-overrides "$@"

# Byte 18 of the ELF header is the number of the processor.
set +f
for executable in .aws-sam/build/*/bootstrap; do
	[ "$(od -An -tu1 -j18 -N1 "$executable" | tr -d ' ')" = "$machine" ] ||
		fail "$executable was not built for $architecture, so nothing was deployed." \
			"Deploy from a machine with that processor, or with the other Architecture."
done
set -f

sam deploy --config-env "$section" --parameter-overrides "$@" || fail '' \
	"The deployment of $stack_name failed. The reasons are above and in:" \
	"  aws cloudformation describe-stack-events --stack-name $stack_name" \
	"If they name only AWS::EarlyValidation, AWS CLI 2 shows the reason:" \
	"  aws cloudformation describe-events --stack-name $stack_name"

url=$(output ApiUrl)
[ -n "$url" ] || fail "The stack $stack_name has no output ApiUrl, so api.txt is unchanged."
echo "$url" >api.txt
echo "The stage $stage is at $url. api.txt contains this URL."
