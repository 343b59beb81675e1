"""keyfob for FastAPI: dependencies, cookies on all answers, WebSockets that end with their session."""

from .._errors import Conflict, KeyfobError, Misconfigured, Refused, Unavailable
from .._models import AccessToken, Device, Session
from ._keyfob import Keyfob
from ._refusals import local_path
from ._schemes import Dependency

__all__ = [
    "AccessToken",
    "Conflict",
    "Dependency",
    "Device",
    "Keyfob",
    "KeyfobError",
    "Misconfigured",
    "Refused",
    "Session",
    "Unavailable",
    "local_path",
]
