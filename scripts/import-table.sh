#!/bin/sh
# Lets a new stack of the stage STAGE take over the table that an earlier one left behind. The stack
# contains nothing else, until make deploy adds the rest.
. "$(dirname "$0")/common.sh"

need_credentials
table=user-profiles
for word in $(samconfig parameter_overrides) ${PARAMS:-}; do
	case $word in
	NameSuffix=*) table=user-profiles${word#*=} ;;
	esac
done
cat >"$scratch/table.yaml" <<END
Resources:
  UsersTable:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: RetainExceptOnCreate
    UpdateReplacePolicy: Retain
    Properties:
      TableName: $table
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - { AttributeName: id, AttributeType: S }
        - { AttributeName: email, AttributeType: S }
      KeySchema: [{ AttributeName: id, KeyType: HASH }]
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true }
      SSESpecification: { SSEEnabled: true }
      GlobalSecondaryIndexes:
        - IndexName: email-index
          KeySchema: [{ AttributeName: email, KeyType: HASH }]
          Projection: { ProjectionType: ALL }
END

# import COMMAND... works on the change set of the import.
import() { aws cloudformation "$@" --stack-name "$stack_name" --change-set-name import; }

import create-change-set --change-set-type IMPORT --template-body "file://$scratch/table.yaml" \
	--resources-to-import "ResourceType=AWS::DynamoDB::Table,LogicalResourceId=UsersTable,ResourceIdentifier={TableName=$table}" \
	>/dev/null
import wait change-set-create-complete ||
	fail "$(import describe-change-set --query StatusReason --output text)"
import execute-change-set
aws cloudformation wait stack-import-complete --stack-name "$stack_name"
echo "The stack $stack_name has the table $table. Deploy the rest: make deploy STAGE=$stage"
