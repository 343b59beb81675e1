import os

import openapi_client

configuration = openapi_client.Configuration(
    host=os.environ["KEYFOB_URL"], username="app", password=os.environ["KEYFOB_SECRET"])
sessions = openapi_client.SessionsApi(openapi_client.ApiClient(configuration))
body = openapi_client.OpenSessionBody(subject="alice", claims={"tier": "gold"})
opened = sessions.open_session(body)
print(sessions.read_session(opened.session.id).claims["tier"])
