import os

from generated import AuthenticatedClient
from generated.api.sessions import open_session, read_session
from generated.models import OpenSessionBody

client = AuthenticatedClient(os.environ["KEYFOB_URL"], os.environ["KEYFOB_BASIC"], prefix="Basic")
body = OpenSessionBody.from_dict({"subject": "alice", "claims": {"tier": "gold"}})
opened = open_session.sync(client=client, body=body)
session = read_session.sync(opened.session.id, client=client)
print(session.claims.to_dict()["tier"])
