"""The token verifiers for MCP servers: not valid is 401, an outage is 503."""

import signal
from typing import Any

import pytest

from keyfob import Unavailable

from .conftest import Serving
from .running import running

pytest.importorskip("fastmcp", reason="FastMCP needs Python 3.11")

import httpx
from fastmcp import FastMCP
from mcp.server.auth.provider import TokenVerifier

from keyfob.fastmcp import KeyfobVerifier
from keyfob.mcp import AnswerOutages
from keyfob.mcp import KeyfobVerifier as SdkVerifier

pytestmark = pytest.mark.anyio
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


async def initialize(address: str, token: str | None) -> httpx.Response:
    headers = {"accept": "application/json, text/event-stream"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.post(f"http://{address}/mcp", json=INITIALIZE, headers=headers)


async def test_fastmcp_takes_valid_tokens_and_answers_an_outage_with_503(own_server: Serving) -> None:
    """fastmcp#3285; FastMCP's own introspection verifier answers an outage with 401."""
    web = own_server.client(timeout=0.3)
    verifier = KeyfobVerifier(web, required_scopes=["read"])
    app: Any = FastMCP("test", auth=verifier).http_app(stateless_http=True)
    issued = await web.open("alice")
    narrow = await web.open("alice", scopes=["write"])
    async with running(app) as address:
        assert (await initialize(address, issued.tokens.access_token)).status_code == 200
        assert (await initialize(address, narrow.tokens.access_token)).status_code == 403
        for wrong in (None, "x", issued.session_token, issued.tokens.refresh_token):
            assert (await initialize(address, wrong)).status_code == 401
        await web.end(issued.session)
        assert (await initialize(address, issued.tokens.access_token)).status_code == 401
        own_server.signal(signal.SIGSTOP)
        answer = await initialize(address, narrow.tokens.access_token)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        own_server.signal(signal.SIGCONT)
    await web.aclose()


async def test_fastmcp_knows_who_it_is(server: Serving) -> None:
    async with server.client() as web:
        issued = await web.open("alice", acr="aal1", claims={"tier": "gold"})
        found = await KeyfobVerifier(web).verify_token(issued.tokens.access_token)
        assert found is not None
        assert (found.client_id, found.scopes, found.subject) == ("web", ["read", "write"], "alice")
        assert found.claims == {
            "tier": "gold",
            "iss": server.url,
            "aud": server.url,
            "sid": issued.session.id,
            "acr": "aal1",
        }
        assert found.resource == server.url
        assert await KeyfobVerifier(web, audience=server.url).verify_token(issued.tokens.access_token)
        assert (
            await KeyfobVerifier(web, audience="https://x").verify_token(issued.tokens.access_token) is None
        )


async def test_the_sdk_takes_valid_tokens_and_answers_an_outage_with_503(own_server: Serving) -> None:
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.mcpserver import MCPServer
    from pydantic import AnyHttpUrl

    web = own_server.client(timeout=0.3)
    verifier: TokenVerifier = SdkVerifier(web)
    issued = await web.open("alice")
    settings = AuthSettings(
        issuer_url=AnyHttpUrl(own_server.url),
        resource_server_url=AnyHttpUrl(own_server.url),
        required_scopes=["read"],
        validate_token_resource=True,
    )
    server = MCPServer("test", token_verifier=verifier, auth=settings)
    app = server.streamable_http_app(stateless_http=True)
    app.add_middleware(AnswerOutages)
    async with running(app) as address:
        assert (await initialize(address, issued.tokens.access_token)).status_code == 200
        assert (await initialize(address, "x")).status_code == 401
        own_server.signal(signal.SIGSTOP)
        assert (await initialize(address, issued.tokens.access_token)).status_code == 503
        with pytest.raises(Unavailable):
            await verifier.verify_token(issued.tokens.access_token)
        own_server.signal(signal.SIGCONT)
    await web.aclose()


def test_both_are_verifiers_of_their_framework(server: Serving) -> None:
    from fastmcp.server.auth import TokenVerifier as FastMcpVerifier

    verifiers: tuple[FastMcpVerifier, TokenVerifier] = (KeyfobVerifier(), SdkVerifier())
    assert isinstance(verifiers[0], FastMcpVerifier)
