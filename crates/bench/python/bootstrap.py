"""The part of Lambda's Python runtime that the benchmark needs: `bootstrap.py MODULE` serves
invocations with MODULE's `handler`."""

import http.client
import importlib
import json
import os
import sys

module = importlib.import_module(sys.argv[1])
runtime = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    runtime.request("GET", "/2018-06-01/runtime/invocation/next")
    invocation = runtime.getresponse()
    event = json.loads(invocation.read())
    response = module.handler(event, None)
    request_id = invocation.getheader("Lambda-Runtime-Aws-Request-Id")
    path = f"/2018-06-01/runtime/invocation/{request_id}/response"
    runtime.request("POST", path, json.dumps(response))
    runtime.getresponse().read()
