"""Compares deploy-role.yaml with what CloudFormation's handlers of the stack's resources may call.

cfn-lint carries the resource schemas, which list these permissions. So `make validate` runs this,
and no test suite does: they have no cfn-lint.
"""

import sys
from fnmatch import fnmatchcase

from cfnlint.decode.cfn_yaml import load
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

# What SAM makes of its own types.
OF_SAM = {
    "AWS::Serverless::Api": [
        "AWS::ApiGateway::Deployment",
        "AWS::ApiGateway::RestApi",
        "AWS::ApiGateway::Stage",
    ],
    "AWS::Serverless::Function": [
        "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup",
        "AWS::Lambda::Alias",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Version",
    ],
}

# What the handlers call only for properties and types of principals that template.yaml lacks.
UNUSED = """
    apigateway:UpdateRestApiPolicy codedeploy:RegisterOnPremisesInstance
    dynamodb:*Item dynamodb:*Import* dynamodb:*KinesisStreamingDestination dynamodb:*TableReplica
    dynamodb:DeleteResourcePolicy dynamodb:PutResourcePolicy dynamodb:Query dynamodb:Scan
    dynamodb:UpdateContributorInsights dynamodb:UpdateTimeToLive
    ec2:* elasticfilesystem:* firehose:* kinesis:* s3:* s3files:*
    iam:*GroupPolicy iam:*UserPolicy
    kms:Decrypt kms:Encrypt kms:GenerateDataKey kms:ListAliases kms:RevokeGrant
    lambda:*CodeSigningConfig lambda:AssociateRuntimeAlias lambda:DeleteFunctionConcurrency
    lambda:DeleteProvisionedConcurrencyConfig lambda:GetLayerVersion lambda:PassCapacityProvider
    lambda:PutFunctionConcurrency lambda:PutFunctionRecursionConfig
    lambda:PutFunctionScalingConfig lambda:PutProvisionedConcurrencyConfig
    logs:*DataProtectionPolicy logs:*KmsKey logs:CreateLogStream logs:DeleteIndexPolicy
    logs:DeleteResourcePolicy logs:DescribeLogStreams logs:PutBearerTokenAuthentication
    logs:PutIndexPolicy logs:PutLogEvents logs:PutLogGroupDeletionProtection
    sns:PutDataProtectionPolicy
""".split()

# What the role must not be able to do.
FORBIDDEN = ["iam:DeleteRolePermissionsBoundary"]


def actions(statement):
    action = statement["Action"]
    return [action] if isinstance(action, str) else action


resources = load("template.yaml")["Resources"].values()
types = {made for resource in resources for made in OF_SAM.get(resource["Type"], [resource["Type"]])}
policies = load("scripts/deploy-role.yaml")["Resources"]
allowed = [
    action
    for name in ["StackPolicy", "ResourcesPolicy", "OperationsPolicy"]
    for statement in policies[name]["Properties"]["PolicyDocument"]["Statement"]
    if statement["Effect"] == "Allow"
    for action in actions(statement)
]

missing = []
for name in sorted(types):
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", name).schema["handlers"]
    needed = {
        permission
        for kind, handler in handlers.items()
        if kind != "list"
        for permission in handler["permissions"]
    }
    for permission in sorted(needed):
        known = allowed + UNUSED + FORBIDDEN
        if not any(fnmatchcase(permission.lower(), pattern.lower()) for pattern in known):
            missing.append(f"scripts/deploy-role.yaml lacks {permission}, for {name}")
missing += [f"scripts/deploy-role.yaml allows {name}" for name in FORBIDDEN if name in allowed]
sys.exit("\n".join(missing) or 0)
