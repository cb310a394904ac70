"""Calls the API at API_ENDPOINT with the Python client that OpenAPI Generator generated."""

import os
import re

from openapi_generator_client import ApiClient, ApiException, Configuration
from openapi_generator_client import Replacement, UserApi, UserToCreate, UsersApi

client = ApiClient(Configuration(host=os.environ["API_ENDPOINT"]))
users, one = UsersApi(client), UserApi(client)
extra = {"born": 1815, "tags": ["a", {"b": None}], "nested": {"deep": [True, 0.5]}}

for name in ("a/b", "c d", "ü"):
    user = UserToCreate.from_dict({"id": name, "email": "ada+1@example.com", **extra})
    assert users.create_user(user).to_dict() == user.to_dict()

ids, cursor = set(), None
while True:
    page = users.list_users_with_http_info(limit=1, cursor=cursor)
    ids.update(user.id for user in page.data)
    following = re.search(r"[?&]cursor=([^&>]+)", page.headers.get("link", ""))
    if not following:
        break
    cursor = following[1]
assert ids == {"a/b", "c d", "ü"}, ids

read = one.get_user("a/b").to_dict()
assert read == {"id": "a/b", "email": "ada+1@example.com", **extra}, read
replaced = one.replace_user("a/b", Replacement.from_dict({**read, "title": "Countess"}))
assert replaced.to_dict() == {**read, "title": "Countess"}, replaced

for name in ids:
    assert one.delete_user(name).id == name
try:
    one.get_user("a/b")
    raise AssertionError("the user is not deleted")
except ApiException as error:
    assert error.status == 400 and error.data.code == "UserNotFound", error
assert users.delete_all_users() is None
print("OpenAPI Generator, Python: works")
