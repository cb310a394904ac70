#!/bin/sh
# Checks the templates with SAM's lint, cfn-lint and checkov, the deploy role's permissions, and the
# scripts with shellcheck.
. "$(dirname "$0")/common.sh"

need sam cfn-lint checkov shellcheck
sam validate --lint --region us-east-1
cfn-lint template.yaml scripts/deploy-role.yaml
.venv/bin/python scripts/check-deploy-role.py
checkov
set +f
shellcheck scripts/*.sh scripts/reset scripts/seed scripts/with-dynamodb \
	scripts/with-local-service scripts/load/run .ci/run
