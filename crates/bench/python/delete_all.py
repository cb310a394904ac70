"""DELETE /users, as it is usually written with boto3: one DeleteItem after another."""

import json
import os

import boto3

dynamodb = boto3.resource("dynamodb", endpoint_url=os.environ.get("DYNAMO_ENDPOINT"))
table = dynamodb.Table(os.environ["USERS_TABLE"])


def handler(event, context):
    page = table.scan()
    while True:
        for user in page["Items"]:
            table.delete_item(Key={"id": user["id"]})
        if "LastEvaluatedKey" not in page:
            break
        page = table.scan(ExclusiveStartKey=page["LastEvaluatedKey"])
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(None),
    }
