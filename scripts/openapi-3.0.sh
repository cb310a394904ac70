#!/bin/sh
# Prints openapi.yaml as OpenAPI 3.0.3, for generators that cannot read 3.1. Leaves out the lines
# that are marked "3.1 only".
set -eu
cd "$(dirname "$0")/.."

awk '
	BEGIN { print "# Derived from openapi.yaml by `make openapi-3.0`. Edit openapi.yaml instead." }
	/^openapi:/ { inside = 1; print "openapi: 3.0.3"; next }
	inside && !/ # 3\.1 only$/
' openapi.yaml
