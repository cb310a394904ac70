#!/bin/sh
# Prints openapi.yaml as OpenAPI 3.0.3, for generators that do not read 3.1. The two differ in the
# lines that only 3.1 has, which are marked.
set -eu
cd "$(dirname "$0")/.."

awk '
	BEGIN { print "# Derived from openapi.yaml by `make openapi-3.0`. Change that one." }
	/^openapi:/ { inside = 1; print "openapi: 3.0.3"; next }
	inside && !/ # 3\.1 only$/
' openapi.yaml
