"""Calls the API at API_ENDPOINT with the client that openapi-python-client generated."""

import os

from user_profile_api import Client
from user_profile_api.api.user import delete_user, get_user, replace_user
from user_profile_api.api.users import create_user, delete_all_users, list_users
from user_profile_api.models import Error, ErrorCode, NewUser, Replacement

client = Client(base_url=os.environ["API_ENDPOINT"], raise_on_unexpected_status=True)

ada = NewUser.from_dict({"id": "ada/1", "email": "ada+1@example.com", "born": 1815})
created = create_user.sync(client=client, body=ada)
assert created.to_dict() == ada.to_dict(), created

again = create_user.sync_detailed(client=client, body=ada)
assert again.status_code == 400 and again.parsed.code == ErrorCode.USERALREADYEXISTS, again

found = list_users.sync(client=client, email="ada+1@example.com", limit=1)
assert [user.id for user in found] == ["ada/1"], found

replacement = Replacement.from_dict({"title": "Countess"})
replaced = replace_user.sync("ada/1", client=client, body=replacement)
assert replaced.to_dict() == {"id": "ada/1", "title": "Countess"}, replaced

deleted = delete_user.sync("ada/1", client=client)
assert deleted.to_dict() == replaced.to_dict(), deleted

missing = get_user.sync("ada/1", client=client)
assert isinstance(missing, Error) and missing.code == ErrorCode.USERNOTFOUND, missing

everything = delete_all_users.sync_detailed(client=client)
assert everything.status_code == 200 and everything.parsed is None, everything
print("The client in Python works.")
