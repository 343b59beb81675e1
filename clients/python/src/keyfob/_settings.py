"""Where keyfob is and who this client is: from arguments, else from the environment, read at first use."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import quote_plus

from ._errors import Misconfigured
from ._http import Origin


@dataclass(frozen=True)
class Settings:
    """The server and the credentials."""

    origin: Origin
    client_id: str
    basic: str
    """The value of `Authorization` (RFC 6749 §2.3.1)."""

    def __repr__(self) -> str:
        return f"Settings({self.origin}, client_id={self.client_id!r})"

    @classmethod
    def read(cls, url: str | None, client_id: str | None, client_secret: str | None) -> Settings:
        """What is given, else from the environment; `Misconfigured` if there is neither."""
        url = url or _variable("KEYFOB_URL", "url")
        client_id = client_id or _variable("KEYFOB_CLIENT_ID", "client_id")
        secret = client_secret or _variable("KEYFOB_CLIENT_SECRET", "client_secret")
        credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        return cls(Origin.parse(url), client_id, "Basic " + b64encode(credentials.encode()).decode())


def _variable(name: str, argument: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise Misconfigured(
            f"{name} is not set; start the program by `keyfob dev -- COMMAND`, set it, or give {argument}="
        )
    return value
