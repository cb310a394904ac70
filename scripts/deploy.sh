#!/bin/sh
# Builds the functions, deploys the stage STAGE, writes its URL to api.txt and sends it a request.
# PARAMS='Name=Value ...' sets parameters of template.yaml. A deployed stage keeps the value of a
# parameter until another one is set, here or in samconfig.toml.
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

# gives NAME succeeds if this deployment sets the parameter, perhaps to nothing.
gives() {
	case " $overrides " in
	*" $1="*) ;;
	*) return 1 ;;
	esac
}

# deployed NAME prints the value that the deployed stage has for a parameter.
deployed() { awk -F '\t' -v name="$1" '$1 == name { print $2 }' "$scratch/deployed"; }

# becomes NAME prints the value that a parameter has after this deployment, or nothing if that is
# template.yaml's default.
becomes() { if gives "$1"; then given "$1"; else deployed "$1"; fi; }

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

need sam curl
need_credentials

# --- What exists already

# refuse_existing_table fails if the table of a new stack exists already.
refuse_existing_table() {
	table=user-profiles$(given NameSuffix)
	protected=$(aws dynamodb describe-table --table-name "$table" --output text \
		--query Table.DeletionProtectionEnabled 2>/dev/null) || return 0
	unprotect=
	[ "$protected" != True ] || unprotect="
  aws dynamodb update-table --table-name $table --no-deletion-protection-enabled"
	fail "The table $table exists already: destroying a stack keeps its table, so that no user" \
		"is lost. To deploy with a new, empty table, delete this one with its users:$unprotect" \
		"  aws dynamodb delete-table --table-name $table" \
		"To keep its users, let a new stack take the table over, and deploy again:" \
		"  STAGE=$stage scripts/import-table.sh"
}

# refuse_taken_names fails if something has a name that a new stack needs. CloudFormation would
# report it only after the build, and the SAM CLI would not say what it is.
refuse_taken_names() {
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

# refuse_open_stage fails if nothing says who may use a new stage, unless the stage is for tests.
refuse_open_stage() {
	[ "$stage" = test ] || gives AuthType || fail \
		"Nothing says who may use the stage $stage. Add one of these to its parameter_overrides in" \
		"samconfig.toml, or set it once with make deploy STAGE=$stage PARAMS=..." \
		"  AuthType=API_KEY   who has the stage's key" \
		"  AuthType=AWS_IAM   who signs requests with AWS credentials" \
		"  AuthType=COGNITO   users of a Cognito user pool, with UserPoolArn=ARN" \
		"  AuthType=NONE      anyone, who may then also delete all users"
}

# refuse_new_names fails if a parameter that names what a stage consists of would change.
refuse_new_names() {
	for name in NameSuffix StageName; do
		if gives "$name" && [ "$(given "$name")" != "$(deployed "$name")" ]; then
			case $name in
			NameSuffix) effect='replace its table with an empty one' ;;
			*) effect="change its URL for every client" ;;
			esac
			fail "The stage $stage has $name=$(deployed "$name"). $name=$(given "$name") would $effect." \
				"Deploy beside it instead: add a stage to samconfig.toml, as docs/deploying.md says," \
				"and copy the users with scripts/merge-table."
		fi
	done
}

# refuse_without_partner NAME VALUE PARTNER fails if the parameter has the value, or any if that is empty,
# and its partner has none. CloudFormation would report it only after the build.
refuse_without_partner() {
	value=$(becomes "$1")
	[ -n "$value" ] && [ "$value" = "${2:-$value}" ] && [ -z "$(becomes "$3")" ] || return 0
	fail "$1=$value needs $3=ARN, in PARAMS or in samconfig.toml."
}

# refuse_missing_table fails if the table that the functions shall use does not exist.
refuse_missing_table() {
	table=$(given TableName)
	[ -n "$table" ] || return 0
	aws dynamodb describe-table --table-name "$table" >/dev/null 2>"$scratch/errors" ||
		! grep -q ResourceNotFoundException "$scratch/errors" ||
		fail "There is no table $table in this account and region, so every request would fail." \
			"TableName= without a value means the stage's own table."
}

# changes_functions succeeds if this deployment publishes versions of the functions: if it changes a
# parameter that their versions' descriptions contain.
changes_functions() {
	for name in $described; do
		! gives "$name" || [ "$(given "$name")" = "$(deployed "$name")" ] || return 0
	done
	[ "$(deployed Commit)" != "$commit" ]
}

# refuse_while_alarm_fires fails if CodeDeploy would not start because an alarm is firing.
refuse_while_alarm_fires() {
	preference=$(becomes DeploymentPreference)
	case $preference in
	'' | None) return ;;
	esac
	alarm=$(aws cloudformation list-stack-resources --stack-name "$stack_name" --output text --query \
		"StackResourceSummaries[?LogicalResourceId=='ApiErrorsAlarm'].PhysicalResourceId")
	[ -n "$alarm" ] || return 0
	on=$(aws cloudwatch describe-alarms --alarm-names "$alarm" --output text \
		--query "MetricAlarms[?StateValue=='ALARM'].AlarmName")
	[ -z "$on" ] || [ "$on" = None ] || fail \
		"The alarm $on is firing: clients get 5xx responses." \
		"CodeDeploy starts no gradual deployment while it fires. If this deployment is the fix," \
		"move all traffic to it at once:" \
		"  make deploy STAGE=$stage PARAMS='${PARAMS:+$PARAMS }DeploymentPreference=None'" \
		"To change only parameters that no function has, first check out the deployed commit," \
		"$(deployed Commit)." \
		"Afterwards, return to gradual deployments:" \
		"  make deploy STAGE=$stage PARAMS=DeploymentPreference=$preference"
}

# delete_unused_versions deletes the versions of functions that a rollback left behind. While one
# exists, Lambda does not publish the same code again, and the next deployment of it would fail.
delete_unused_versions() {
	aws cloudformation list-stack-resources --stack-name "$stack_name" --output text --query \
		"StackResourceSummaries[?ResourceType=='AWS::Lambda::Version'].[PhysicalResourceId]" |
		while read -r arn; do
			function=${arn%:*} function=${function##*:}
			newer=$(aws lambda list-versions-by-function --function-name "$function" --output text \
				--query "Versions[?Version!='\$LATEST'].[Version]" </dev/null |
				awk -v current="${arn##*:}" '$1 + 0 > current + 0')
			for version in $newer; do
				echo "Deleting the version $version of $function, which a rollback left behind."
				aws lambda delete-function --function-name "$function" --qualifier "$version" </dev/null
			done
		done
}

# print_kept_parameters prints the parameters that the stage keeps and that differ from
# template.yaml's defaults. A changed default does not reach a stage that is already deployed.
print_kept_parameters() {
	kept=$(awk -v given=" $overrides " '
		NR == FNR { split($0, pair, "\t"); value[pair[1]] = pair[2]; next }
		/^[A-Z]/ { inside = $1 == "Parameters:" }
		inside && /^  [A-Za-z]+:$/ { name = $1; sub(/:/, "", name) }
		inside && $1 == "Default:" {
			default_value = $2
			gsub(/"/, "", default_value)
			# Deployments set ApiLogs and Commit themselves.
			if (name in value && value[name] != default_value && name != "ApiLogs" &&
			    name != "Commit" && !index(given, " " name "="))
				printf "  %s=%s (default: %s)\n", name, value[name], default_value
		}
	' "$scratch/deployed" template.yaml)
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
# What the descriptions of the functions' versions contain: the commit and parameters.
described=$(sed -n '/ &version_description /{n;s/[${}]//g;s/Commit//;p;}' template.yaml)
commit=$(commit)
: >"$scratch/deployed"
new=yes
creates_table=
case $status in
'' | REVIEW_IN_PROGRESS)
	refuse_existing_table
	creates_table=yes
	;;
*)
	stack 'Stacks[].Parameters[].[ParameterKey,ParameterValue]' >"$scratch/deployed"
	# A stack without parameters contains only an imported table.
	[ ! -s "$scratch/deployed" ] || new=
	;;
esac
refuse_without_partner AuthType COGNITO UserPoolArn
refuse_without_partner DomainName '' CertificateArn
refuse_missing_table
unchanged=
if [ "$new" ]; then
	refuse_open_stage
	refuse_taken_names
	if ! gives ApiLogs; then
		api_logs=$(choose_api_logs)
		set -- "ApiLogs=$api_logs" "$@"
	fi
else
	refuse_new_names
	if changes_functions; then
		refuse_while_alarm_fires
	elif [ -n "${PARAMS:-}" ]; then
		unchanged=yes
	fi
	print_kept_parameters
	[ "$status" != UPDATE_ROLLBACK_COMPLETE ] || delete_unused_versions
fi

# --- The build and the deployment

# deploy NAME=VALUE... deploys the stack with these parameters.
deploy() {
	# sam looks for samconfig.toml beside the template.
	sam deploy --config-file "$PWD/samconfig.toml" --config-env "$section" \
		--template-file "$template" --parameter-overrides "$@" ||
		fail '' "The deployment of $stack_name failed. The reasons are above and in:" \
			"  aws cloudformation describe-stack-events --stack-name $stack_name" \
			"If they name only AWS::EarlyValidation, AWS CLI 2 shows the reason:" \
			"  aws cloudformation describe-events --stack-name $stack_name"
}

# The build does not know what the stage keeps.
architecture=$(becomes Architecture)
architecture=${architecture:-arm64}
set -- "Architecture=$architecture" "Commit=$commit" "$@"
if [ "$unchanged" ]; then
	echo "These parameters change no function, so the deployed code stays."
	template=$scratch/template.yaml
	aws cloudformation get-template --stack-name "$stack_name" --template-stage Original \
		--query TemplateBody --output text >"$template"
else
	template=.aws-sam/build/template.yaml
	ARCH=$architecture scripts/build.sh
fi
# If the deployment that creates the table fails, CloudFormation must be able to delete it.
if [ "$creates_table" ] && [ "$(given TableDeletionProtection)" = true ]; then
	deploy "$@" TableDeletionProtection=false
	echo "The stack stands. Now its table gets its deletion protection."
fi
deploy "$@"

# --- The answer

url=$(output ApiUrl)
[ -n "$url" ] || fail "The stack $stack_name has no output ApiUrl, so api.txt is unchanged."
echo "$url" >api.txt
stack 'Stacks[].Parameters[].[ParameterKey,ParameterValue]' >"$scratch/now"
previous=$(deployed Commit)
mv "$scratch/now" "$scratch/deployed"
echo
for name in DashboardUrl LogsUrl TracesUrl; do
	printf '%s\n  %s\n' "$name" "$(output "$name")"
done
echo "The digests of the functions' code:"
aws lambda list-functions --output text --query \
	"Functions[?starts_with(FunctionName, 'user-profile-')].[FunctionName,CodeSha256]" |
	awk -v names=" $(named FunctionName | tr '\n' ' ')" -v suffix="$(deployed NameSuffix)" '
		BEGIN { count = split(names, list, " "); for (i = 1; i <= count; i++) ours[list[i] suffix] }
		$1 in ours { print "  " $2 "  " $1 }'
case $(deployed AuthType) in
'' | NONE) echo "The stage $stage is open: anyone may read and delete all users. AuthType closes it." ;;
esac
[ -n "$(deployed AlarmEmail)" ] ||
	echo "Nobody is told when an alarm fires. PARAMS=AlarmEmail=ADDRESS sends emails."
echo "The stage $stage is at $url. api.txt contains this URL."
PREVIOUS=$previous scripts/stage.sh ping
