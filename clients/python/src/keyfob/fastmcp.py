"""A token verifier for FastMCP. For servers of the MCP SDK see `keyfob.mcp`."""

from __future__ import annotations

from typing import Any

from fastmcp.server.auth import AccessToken, TokenVerifier
from starlette.middleware import Middleware

from ._client import Client
from ._outages import AnswerOutages
from .mcp import members

__all__ = ["KeyfobVerifier"]


class KeyfobVerifier(TokenVerifier):
    """Verifies access tokens by asking keyfob: `FastMCP("name", auth=KeyfobVerifier())`.

    keyfob answers only for tokens whose audience is in this client's `serves`; `audience` narrows that to
    one. A token that is not valid is 401. An outage is 503, so that no client drops a token that is valid.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        audience: str | None = None,
        required_scopes: list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(required_scopes=required_scopes, **options)
        self._client = client or Client()
        self._audience = audience

    async def verify_token(self, token: str) -> AccessToken | None:
        """What the token grants; None if it is not valid. Raises `Unavailable` and `Misconfigured`."""
        found = await self._client.introspect(token)
        if found is None or self._audience not in (None, found.audience):
            return None
        return AccessToken(**members(token, found))

    def get_middleware(self) -> list[Middleware]:
        """FastMCP's, with the answer to an outage."""
        untyped: Any = super()
        return [Middleware(AnswerOutages), *untyped.get_middleware()]
