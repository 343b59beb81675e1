"""What keyfob answers, as immutable values that requests may share: do not change their members."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]


class Moment(NamedTuple):
    """When an answer was true, by the server's clock and by this machine's monotonic one, in seconds."""

    server: float
    local: float
    position: int = 0
    """The position in the event log; 0 is before every event."""

    def now(self) -> float:
        """The server's present time, reckoned from the answer."""
        return self.server + time.monotonic() - self.local


_NOWHEN = Moment(0.0, 0.0)


@dataclass(frozen=True)
class Device:
    """The device that the subject signed in on, as the application described it."""

    label: str | None = None
    user_agent: str | None = None
    ip: str | None = None

    @classmethod
    def of(cls, value: Json) -> Device:
        """From JSON."""
        return cls(value.get("label"), value.get("user_agent"), value.get("ip"))

    def as_json(self) -> Json:
        """The members that have a value."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Family:
    """A family of refresh tokens of a session."""

    id: int
    state: str
    client_id: str
    scope: str
    audience: str
    generation: int
    refreshed_at: datetime

    @classmethod
    def of(cls, value: Json) -> Family:
        """From JSON."""
        return cls(
            value["id"],
            value["state"],
            value["client_id"],
            value["scope"],
            value["audience"],
            value["generation"],
            instant(value["refreshed_at"]),
        )


@dataclass(frozen=True)
class Ended:
    """When, why and by whom a session was ended."""

    at: datetime
    reason: str
    by: str


@dataclass(frozen=True)
class Session:
    """A session. What only its owner and its opener may read is empty for others."""

    id: str
    subject: str
    """Who signed in: the `subject` that the application gave."""
    client_id: str
    """The client that the session is for."""
    acr: str | None
    """The authentication context class that the subject reached (RFC 9470)."""
    amr: tuple[str, ...]
    """The methods that the subject authenticated with (RFC 8176)."""
    authenticated_at: datetime
    idle_expires_at: datetime
    """When the session expires without further activity."""
    expires_at: datetime
    """When the session expires, also with activity."""
    claims: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What tokens and introspection contain; visible to other services."""
    opened_by: str | None = None
    state: str = "active"
    """`active`, `expired` or `ended`."""
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    device: Device = field(default_factory=Device)
    data: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What the application stores in the session; change it by `Client.save`."""
    remember: bool = False
    families: tuple[Family, ...] = ()
    ended: Ended | None = None
    version: int = 0
    """Counts changes and renewals; `Client.save` takes it."""
    moment: Moment = field(default=_NOWHEN, repr=False, compare=False)

    @classmethod
    def of(cls, value: Json, moment: Moment, scope: str | None = None) -> Session:
        """From JSON; `scope` is that of the token, which may be narrower than the session's."""
        get = value.get
        created, used, ended = get("created_at"), get("last_used_at"), get("ended")
        return cls(
            value["id"],
            value["subject"],
            value["client_id"],
            get("acr"),
            tuple(get("amr", ())),
            instant(value["authenticated_at"]),
            instant(value["idle_expires_at"]),
            instant(value["expires_at"]),
            get("claims") or {},
            get("opened_by"),
            get("state", "active"),
            instant(created) if created else None,
            instant(used) if used else None,
            tuple((get("scope", "") if scope is None else scope).split()),
            Device.of(get("device") or {}),
            get("data") or {},
            get("remember", False),
            tuple(Family.of(family) for family in get("families", ())),
            Ended(instant(ended["at"]), ended["reason"], ended["by"]) if ended else None,
            get("version", 0),
            moment,
        )

    @property
    def is_active(self) -> bool:
        """Whether the session was active when keyfob answered."""
        return self.state == "active"

    @property
    def authentication_age(self) -> timedelta:
        """The time since the subject authenticated, by the server's clock."""
        return _age(self.authenticated_at, self.moment)


@dataclass(frozen=True)
class AccessToken:
    """A valid access token, as introspection describes it (RFC 7662)."""

    subject: str
    """Who signed in; the client itself for a token of `client_credentials`."""
    client_id: str
    """The client that the token was issued to."""
    scopes: tuple[str, ...]
    audience: str | None
    issuer: str | None
    expires_at: datetime
    issued_at: datetime | None
    id: str | None
    """`jti`."""
    session_id: str | None
    """None for a token of `client_credentials`."""
    acr: str | None
    amr: tuple[str, ...]
    authenticated_at: datetime | None
    claims: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The claims of the session."""
    moment: Moment = field(default=_NOWHEN, repr=False, compare=False)

    @classmethod
    def of(cls, value: Json, moment: Moment) -> AccessToken:
        """From the answer of introspection."""
        get = value.get
        issued, authenticated = get("iat"), get("auth_time")
        return cls(
            value["sub"],
            value["client_id"],
            tuple(get("scope", "").split()),
            get("aud"),
            get("iss"),
            _seconds(value["exp"]),
            None if issued is None else _seconds(issued),
            get("jti"),
            get("sid"),
            get("acr"),
            tuple(get("amr", ())),
            None if authenticated is None else _seconds(authenticated),
            get("claims") or {},
            moment,
        )

    @property
    def authentication_age(self) -> timedelta | None:
        """The time since the subject authenticated, by the server's clock; None for a client's own token."""
        return None if self.authenticated_at is None else _age(self.authenticated_at, self.moment)


@dataclass(frozen=True)
class Tokens:
    """What a token request answers (RFC 6749 §5.1). No secret is in its `repr`."""

    access_token: str = field(repr=False)
    expires_in: int
    """Seconds."""
    refresh_token: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ()
    token_type: str = "Bearer"

    @classmethod
    def of(cls, value: Json) -> Tokens:
        """From JSON."""
        scopes = tuple(value.get("scope", "").split())
        return cls(
            value["access_token"],
            value["expires_in"],
            value.get("refresh_token"),
            scopes,
            value["token_type"],
        )


@dataclass(frozen=True)
class Issued:
    """An opened or renewed session with its secrets, which no later answer contains and no `repr` shows."""

    session: Session
    session_token: str = field(repr=False)
    """The value of the cookie."""
    set_cookie: str = field(repr=False)
    """The complete `Set-Cookie` header for the browser."""
    tokens: Tokens

    @classmethod
    def of(cls, value: Json, moment: Moment) -> Issued:
        """From JSON."""
        session = Session.of(value["session"], moment)
        return cls(session, value["session_token"], value["set_cookie"], Tokens.of(value))


@dataclass(frozen=True)
class Data:
    """What the application stores in a session."""

    value: Mapping[str, Any]
    version: int
    """What `Client.save` takes, so that no change is lost."""


@dataclass(frozen=True)
class Event:
    """An event of the log, or of the feed, which has no personal data."""

    cursor: str
    """The position: pass it as `after` to go on behind this event."""
    at: datetime
    type: str
    session_id: str | None = None
    subject: str | None = None
    client_id: str | None = None
    family: int | None = None
    jti: str | None = None
    reason: str | None = None
    members: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """All members."""

    @classmethod
    def of(cls, value: Json) -> Event:
        """From JSON."""
        get = value.get
        return cls(
            value["cursor"],
            instant(value["at"]),
            value["type"],
            get("session_id"),
            get("subject"),
            get("client_id"),
            get("family"),
            get("jti"),
            get("reason"),
            value,
        )


def _age(authenticated_at: datetime, moment: Moment) -> timedelta:
    return timedelta(seconds=max(0.0, moment.now() - authenticated_at.timestamp()))


def _seconds(value: int) -> datetime:
    return datetime.fromtimestamp(value, timezone.utc)


if sys.version_info >= (3, 11):
    instant = datetime.fromisoformat
else:
    _INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)

    def instant(text: str) -> datetime:
        """A time of RFC 3339, which `fromisoformat` reads from Python 3.11 on."""
        match = _INSTANT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no time of RFC 3339")
        whole, fraction, zone = match.groups()
        return datetime.fromisoformat(f"{whole}.{(fraction or '0'):0<6}{'+00:00' if zone == 'Z' else zone}")
