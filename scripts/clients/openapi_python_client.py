"""Calls the API at API_ENDPOINT with the client that openapi-python-client generated."""

import os
import re

from openapi_python_client_client import Client
from openapi_python_client_client.api.user import delete_user, get_user, replace_user
from openapi_python_client_client.api.users import create_user, list_users
from openapi_python_client_client.models import ErrorBody, ErrorBodyCode, Replacement, UserToCreate

client = Client(base_url=os.environ["API_ENDPOINT"], raise_on_unexpected_status=True)
extra = {"born": 1815, "tags": ["a", {"b": None}], "nested": {"deep": [True, 0.5]}}

for name in ("a/b", "c d", "ü"):
    user = UserToCreate.from_dict({"id": name, "email": "ada+1@example.com", **extra})
    created = create_user.sync(client=client, body=user)
    assert created.to_dict() == user.to_dict(), created
again = create_user.sync_detailed(client=client, body=user)
assert again.status_code == 400 and again.parsed.code == ErrorBodyCode.USERALREADYEXISTS, again

ids, cursor = set(), {}
while cursor is not None:
    page = list_users.sync_detailed(client=client, limit=1, **cursor)
    ids.update(user.id for user in page.parsed)
    following = re.search(r"[?&]cursor=([^&>]+)", page.headers.get("link", ""))
    cursor = {"cursor": following[1]} if following else None
assert ids == {"a/b", "c d", "ü"}, ids

read = get_user.sync("a/b", client=client).to_dict()
assert read == {"id": "a/b", "email": "ada+1@example.com", **extra}, read
replacement = Replacement.from_dict({**read, "title": "Countess"})
replaced = replace_user.sync("a/b", client=client, body=replacement)
assert replaced.to_dict() == {**read, "title": "Countess"}, replaced

for name in ids:
    assert delete_user.sync(name, client=client).id == name
missing = get_user.sync("a/b", client=client)
assert isinstance(missing, ErrorBody) and missing.code == ErrorBodyCode.USERNOTFOUND, missing
print("openapi-python-client: works")
