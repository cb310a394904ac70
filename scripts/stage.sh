#!/bin/sh
# Operates the deployed stage STAGE:
# stage.sh api-key|auth-type|architecture|logs|traces|destroy
. "$(dirname "$0")/common.sh"

case $1 in
api-key)
	need_credentials
	id=$(output ApiKeyId)
	[ -n "$id" ] || fail "The stage $stage has no API key. To deploy it with one:" \
		"  make deploy STAGE=$stage PARAMS=AuthType=API_KEY"
	aws apigateway get-api-key --api-key "$id" --include-value --query value --output text
	;;
auth-type | architecture)
	need_credentials
	case $1 in
	auth-type) name=AuthType ;;
	*) name=Architecture ;;
	esac
	value=$(parameter "$name")
	[ -n "$value" ] || fail "The stage $stage is not deployed: run make deploy STAGE=$stage"
	echo "$value"
	;;
logs)
	need sam
	need_credentials
	sam logs --stack-name "$stack_name" --tail
	;;
traces)
	need sam
	need_credentials
	sam traces --tail
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
