"""Whether a request comes from a page of this site, so that its cookie speaks for the user (CSRF)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import HTTPConnection

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_SCHEMES = {"ws": "http", "wss": "https"}
_PORTS = {"http": ":80", "https": ":443"}


def is_same_site(connection: HTTPConnection, origins: Collection[str]) -> bool:
    """Judges `Origin` and `Sec-Fetch-Site`, which pages cannot set.

    An `Origin` in `origins` passes. Else `Sec-Fetch-Site`, where it is sent, must be `same-origin` or `none`;
    where it is not, `Origin` must be the scheme and `Host` of the request. A request with neither passes: it
    comes from no browser. `X-Forwarded-Host` is not read.
    """
    sent, sites = connection.headers.getlist("origin"), connection.headers.getlist("sec-fetch-site")
    if len(sent) > 1 or len(sites) > 1:
        return False
    origin = normalize(sent[0]) if sent else None
    if origin is not None and origin in origins:
        return True
    if sites:
        return sites[0] in ("same-origin", "none")
    if origin is None:
        return True
    scheme = connection.url.scheme
    here = f"{_SCHEMES.get(scheme, scheme)}://{connection.headers.get('host', '')}"
    return origin == normalize(here)


def normalize(origin: str) -> str:
    """An origin as browsers write it: in lower case, without a final slash and without the default port."""
    origin = origin.strip().lower().removesuffix("/")
    return origin.removesuffix(_PORTS.get(origin.partition(":")[0], "/"))
