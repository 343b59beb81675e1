"""Sessions that can be revoked: the client of the keyfob server. `keyfob.fastapi` is the part for FastAPI."""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._client import Client
    from ._errors import Conflict, KeyfobError, Misconfigured, Problem, Refused, Unavailable
    from ._models import AccessToken, Data, Device, Ended, Event, Family, Issued, Session, Tokens
    from ._tokens import TokenSource

__all__ = [
    "AccessToken",
    "Client",
    "Conflict",
    "Data",
    "Device",
    "Ended",
    "Event",
    "Family",
    "Issued",
    "KeyfobError",
    "Misconfigured",
    "Problem",
    "Refused",
    "Session",
    "TokenSource",
    "Tokens",
    "Unavailable",
    "__version__",
]

_MODULES = {
    "_client": ("Client",),
    "_errors": ("Conflict", "KeyfobError", "Misconfigured", "Problem", "Refused", "Unavailable"),
    "_models": ("AccessToken", "Data", "Device", "Ended", "Event", "Family", "Issued", "Session", "Tokens"),
    "_tokens": ("TokenSource",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Loads the client at first use: pytest loads this package for its plugin in every run."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
