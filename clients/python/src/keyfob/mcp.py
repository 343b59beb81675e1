"""A token verifier for servers of the MCP SDK. For FastMCP see `keyfob.fastmcp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.auth.provider import AccessToken

from ._client import Client
from ._outages import AnswerOutages

if TYPE_CHECKING:
    from ._models import AccessToken as Introspected

__all__ = ["AnswerOutages", "KeyfobVerifier", "members"]


class KeyfobVerifier:
    """A `TokenVerifier` of the MCP SDK: `MCPServer(token_verifier=KeyfobVerifier(), auth=AuthSettings(…))`.

    keyfob answers only for tokens whose audience is in this client's `serves`; `audience` narrows that to
    one. `None` is a token that is not valid. An outage raises `Unavailable`, which is answered with 503 by
    `server.streamable_http_app().add_middleware(AnswerOutages)`.
    """

    def __init__(self, client: Client | None = None, *, audience: str | None = None) -> None:
        self._client = client or Client()
        self._audience = audience

    async def verify_token(self, token: str) -> AccessToken | None:
        """What the token grants; None if it is not valid. Raises `Unavailable` and `Misconfigured`."""
        found = await self._client.introspect(token)
        if found is None or self._audience not in (None, found.audience):
            return None
        return AccessToken(**members(token, found))


def members(token: str, found: Introspected) -> dict[str, Any]:
    """The members of the SDK's `AccessToken`."""
    claims = {"iss": found.issuer, "aud": found.audience, "sid": found.session_id, "acr": found.acr}
    return {
        "token": token,
        "client_id": found.client_id,
        "scopes": list(found.scopes),
        "expires_at": int(found.expires_at.timestamp()),
        "resource": found.audience,
        "subject": found.subject,
        "claims": {**found.claims, **{name: value for name, value in claims.items() if value is not None}},
    }
