"""The security schemes, as the application's own OpenAPI document shows them."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection, Request

T = TypeVar("T")
Dependency: TypeAlias = Callable[..., Coroutine[Any, Any, T]]
"""What `Depends` takes."""

COOKIE = "keyfob session"
BEARER = "keyfob access token"
RESPONSES = {
    "401": {"description": "Not authenticated, or a more recent or stronger authentication is needed"},
    "403": {"description": "The scope is not sufficient, or the request comes from another site"},
    "503": {"description": "keyfob does not answer; nothing is known about the credentials"},
}


class CookieScheme(SecurityBase, Generic[T]):
    """The session cookie, and what a route gets for it; a scheme of its own saves FastAPI a dependency."""

    def __init__(self, name: str, find: Callable[[Request], Coroutine[Any, Any, T]]) -> None:
        self._find = find
        self.scheme_name = COOKIE
        self.model = APIKey.model_validate(
            {
                "type": "apiKey",
                "in": APIKeyIn.cookie,
                "name": name,
                "description": "Sign in on this site in the same browser: it sends the cookie by itself.",
            }
        )

    async def __call__(self, request: Request) -> T:
        """What the route gets."""
        return await self._find(request)


class BearerScheme(SecurityBase, Generic[T]):
    """An access token, and what a route that asks for these scopes gets for it."""

    def __init__(self, find: Callable[[Request, Sequence[str]], Coroutine[Any, Any, T]]) -> None:
        self._find = find
        self.scheme_name = BEARER
        self.model = HTTPBearer(bearerFormat="PASETO")

    async def __call__(self, request: Request, required: SecurityScopes) -> T:
        """What the route gets."""
        return await self._find(request, required.scopes)


def bearer_token(connection: HTTPConnection) -> str | None:
    """The token of `Authorization: Bearer` (RFC 6750 §2.1), if that is sent exactly once."""
    sent = [value for name, value in connection.scope["headers"] if name == b"authorization"]
    if len(sent) != 1:
        return None
    scheme, _, token = sent[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def document_refusals(openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Adds 401, 403 and 503 to the operations that have one of the schemes."""

    def documented() -> dict[str, Any]:
        document = openapi()
        for path in document.get("paths", {}).values():
            for operation in path.values():
                if _has_scheme(operation):
                    for status, response in RESPONSES.items():
                        operation["responses"].setdefault(status, response)
        return document

    return documented


def _has_scheme(operation: dict[str, Any]) -> bool:
    security: list[dict[str, Any]] = operation.get("security", [])
    return any(name in (COOKIE, BEARER) for demand in security for name in demand)
