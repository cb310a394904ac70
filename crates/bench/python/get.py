"""GET /users/{id}, as it is usually written with boto3."""

import json
import os
from decimal import Decimal

import boto3

dynamodb = boto3.resource("dynamodb", endpoint_url=os.environ.get("DYNAMO_ENDPOINT"))
table = dynamodb.Table(os.environ["USERS_TABLE"])


def number(value):
    if isinstance(value, Decimal):
        return int(value) if value % 1 == 0 else float(value)
    raise TypeError(f"{value!r} is not JSON")


def handler(event, context):
    user_id = event["pathParameters"]["id"]
    item = table.get_item(Key={"id": user_id}).get("Item")
    if item is None:
        return {"statusCode": 400, "body": json.dumps({"message": "user not found"})}
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(item, default=number),
    }
