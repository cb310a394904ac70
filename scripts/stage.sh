#!/bin/sh
# Operates the deployed stage STAGE:
# stage.sh api-key|auth-type|ping|logs|traces|destroy
. "$(dirname "$0")/common.sh"

# credentials prints the caller's credentials as curl's options for requests to a signed API.
credentials() {
	if [ -z "${AWS_ACCESS_KEY_ID:-}" ]; then
		aws configure export-credentials --format env-no-export >"$scratch/credentials" 2>/dev/null ||
			return 1
		AWS_ACCESS_KEY_ID=$(sed -n 's/^AWS_ACCESS_KEY_ID=//p' "$scratch/credentials")
		AWS_SECRET_ACCESS_KEY=$(sed -n 's/^AWS_SECRET_ACCESS_KEY=//p' "$scratch/credentials")
		AWS_SESSION_TOKEN=$(sed -n 's/^AWS_SESSION_TOKEN=//p' "$scratch/credentials")
	fi
	region=${url#*.execute-api.} region=${region%%.*}
	printf 'aws-sigv4 = "aws:amz:%s:execute-api"\nuser = "%s:%s"\n' \
		"$region" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
	[ -z "${AWS_SESSION_TOKEN:-}" ] ||
		printf 'header = "x-amz-security-token: %s"\n' "$AWS_SESSION_TOKEN"
}

# ask sends the request in $scratch/request and sets `status` to the response's, or to 000.
ask() {
	: >"$scratch/body"
	status=$(curl --config "$scratch/request" --silent --show-error --max-time 10 \
		--output "$scratch/body" --write-out '%{http_code}' 2>"$scratch/errors") || status=000
}

# is_expected succeeds if the response is what a stage that works sends.
is_expected() {
	if [ "$auth_type" = COGNITO ]; then
		[ "$status" = 401 ]
	else
		[ "$status" = 400 ] && grep -q UserNotFound "$scratch/body"
	fi
}

case $1 in
api-key)
	need_credentials
	id=$(output ApiKeyId)
	[ -n "$id" ] || fail "The stage $stage has no API key. To deploy it with one:" \
		"  make deploy STAGE=$stage PARAMS=AuthType=API_KEY"
	aws apigateway get-api-key --api-key "$id" --include-value --query value --output text
	;;
auth-type)
	need_credentials
	value=$(parameter AuthType)
	[ -n "$value" ] || fail "The stage $stage is not deployed: run make deploy STAGE=$stage"
	echo "$value"
	;;
ping)
	need curl
	need_credentials
	url=$(output ApiUrl)
	[ -n "$url" ] || fail "The stage $stage is not deployed: run make deploy STAGE=$stage"
	auth_type=$(parameter AuthType)
	# Nobody has a user with 128 random bits as its id.
	id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
	printf 'url = "%s/users/%s"\n' "$url" "$id" >"$scratch/request"
	case $auth_type in
	API_KEY) printf 'header = "x-api-key: %s"\n' "$("$0" api-key)" >>"$scratch/request" ;;
	AWS_IAM) credentials >>"$scratch/request" || {
		echo "The stage was not asked: signing needs AWS_ACCESS_KEY_ID, or AWS CLI 2."
		exit
	} ;;
	esac
	# API Gateway may need a moment to accept a new key or another AuthType.
	attempts=1
	ask
	until [ "$status" = 000 ] || is_expected || [ "$attempts" -ge 12 ]; do
		attempts=$((attempts + 1))
		sleep 5
		ask
	done
	[ "$status" != 000 ] || {
		cat "$scratch/errors"
		echo "Nothing answered within ten seconds. A new name may not be known yet. Try again:" \
			"make ping STAGE=$stage"
		exit
	}
	is_expected || fail "The stage $stage answered a request for a user that does not exist with" \
		"status $status: $(cat "$scratch/body")" \
		"The cause is in the log: make logs STAGE=$stage" \
		"${PREVIOUS:+To go back to what was deployed before:
  git checkout ${PREVIOUS%%-*}
  make deploy STAGE=$stage PARAMS=DeploymentPreference=None}"
	aws lambda get-function-configuration --qualifier live --output text \
		--function-name "user-profile-get$(parameter NameSuffix)" --query '[Version,Description]' |
		{
			read -r version commit
			echo "The stage answers with status $status:" \
				"version $version of user-profile-get, from the commit $commit."
		}
	;;
logs)
	need sam
	need_credentials
	sam logs --stack-name "$stack_name" --tail
	;;
traces)
	need_credentials
	api=user-profile-api$(parameter NameSuffix)/$(parameter StageName)
	now=$(date +%s)
	echo "The traces of $api in the last ten minutes:"
	aws xray get-trace-summaries --start-time $((now - 600)) --end-time "$now" --output table \
		--filter-expression "service(\"$api\")" \
		--query 'TraceSummaries[].[Id,Http.HttpMethod,Http.HttpStatus,ResponseTime]'
	;;
destroy)
	need sam
	need_credentials
	if [ "${YES:-}" != 1 ]; then
		printf "This deletes the stack %s but not its table. Type the stack's name to continue: " \
			"$stack_name"
		confirmation=
		read -r confirmation || true
		[ "$confirmation" = "$stack_name" ] || fail '' 'Nothing was deleted.'
	fi
	url=$(output ApiUrl)
	sam delete --stack-name "$stack_name" --no-prompts
	if [ -n "$url" ] && [ "$(cat api.txt 2>/dev/null)" = "$url" ]; then rm api.txt; fi
	;;
*) fail "stage.sh has no command '$1'." ;;
esac
