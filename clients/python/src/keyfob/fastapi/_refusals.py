"""The answers to requests that are rejected: a challenge, or a redirect for a page."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request


class ToPage(HTTPException):
    """A page is sent to the sign-in page, which sends it back to `next`."""

    def __init__(self, request: Request, url: str) -> None:
        joint = "&" if "?" in url else "?"
        location = f"{url}{joint}next={quote(_address(request), safe='')}"
        super().__init__(303, "Sign in first", {"Location": location, "Cache-Control": "no-store"})


def is_page(request: Request) -> bool:
    """Whether a person looks at the answer: GET, and HTML is asked for by name."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def local_path(url: str | None, default: str = "/") -> str:
    """`url`, if it is a path of this site; else `default`. For the `next` of a sign-in page.

    Browsers take a backslash for a slash, ignore tabs and line breaks, and take `//host` for another site.
    """
    if not url or not url.startswith("/") or url.startswith(("//", "/\\")):
        return default
    if "\\" in url or any(ord(character) < 0x20 or ord(character) == 0x7F for character in url):
        return default
    try:
        parts = urlsplit(url)
    except ValueError:
        return default
    return default if parts.scheme or parts.netloc else url


def not_signed_in(error: str | None = None) -> HTTPException:
    """401 with the challenge of RFC 6750 §3; no error code if no credentials were sent."""
    return HTTPException(401, "Not authenticated", {"WWW-Authenticate": challenge(error=error)})


def step_up_needed(acr: str | None, max_age: int | None) -> HTTPException:
    """401 with the challenge of RFC 9470 §3."""
    value = challenge(
        error="insufficient_user_authentication",
        acr_values=acr,
        max_age=None if max_age is None else str(max_age),
    )
    return HTTPException(
        401, "A more recent or stronger authentication is needed", {"WWW-Authenticate": value}
    )


def scope_missing(scopes: Iterable[str]) -> HTTPException:
    """403 with the challenge of RFC 6750 §3.1."""
    value = challenge(error="insufficient_scope", scope=" ".join(scopes))
    return HTTPException(403, "The scope is not sufficient", {"WWW-Authenticate": value})


def cross_site() -> HTTPException:
    """403 for a change that a page of another site may have caused."""
    return HTTPException(
        403,
        "This request comes from a page of another origin. If that origin is yours, or a proxy changes Host, "
        "name it in Keyfob(origins=...) or KEYFOB_ORIGINS",
    )


def challenge(**parameters: str | None) -> str:
    """A value of `WWW-Authenticate`."""
    given = [f'{name}="{_quoted(value)}"' for name, value in parameters.items() if value is not None]
    return f"Bearer {', '.join(given)}" if given else "Bearer"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _address(request: Request) -> str:
    path = request.url.path
    return f"{path}?{request.url.query}" if request.url.query else path
