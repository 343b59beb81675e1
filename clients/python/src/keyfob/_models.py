"""What keyfob answers, as immutable values that requests may share: do not change their members."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]
T = TypeVar("T", bound="Decoded")


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


class Decoded:
    """An answer whose members are decoded at their first use: a route uses one or two of them."""

    decoders: ClassVar[Mapping[str, Callable[[Json], Any]]] = {}
    """By the name of the member."""

    if not TYPE_CHECKING:  # else every name would be a member

        def __getattr__(self, name: str) -> Any:
            value, decode = vars(self).get("_value"), self.decoders.get(name)
            if value is None or decode is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            member = vars(self)[name] = decode(value)
            return member

    @classmethod
    def of(cls: type[T], value: Json, moment: Callable[[], Moment]) -> T:
        """From JSON, which it keeps; `moment` is called when the moment is asked for."""
        made = object.__new__(cls)
        value["_moment"] = moment
        vars(made)["_value"] = value
        return made


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

    @classmethod
    def of(cls, value: Json) -> Ended:
        """From JSON."""
        return cls(instant(value["at"]), value["reason"], value["by"])


@dataclass(frozen=True)
class Session(Decoded):
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

    @property
    def is_active(self) -> bool:
        """Whether the session was active when keyfob answered."""
        return self.state == "active"

    @property
    def authentication_age(self) -> timedelta:
        """The time since the subject authenticated, by the server's clock."""
        return _age(self.authenticated_at, self.moment)


@dataclass(frozen=True)
class AccessToken(Decoded):
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
    def of(cls, value: Json, moment: Callable[[], Moment]) -> Issued:
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


def _words(value: str) -> tuple[str, ...]:
    return tuple(value.split())


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


def _optional(
    name: str, decode: Callable[[Any], Any] = lambda value: value, default: Any = None
) -> Callable[[Json], Any]:
    """Decodes a member that may be absent or null."""

    def decode_member(value: Json) -> Any:
        member = value.get(name)
        return default if member is None else decode(member)

    return decode_member


def _required(name: str, decode: Callable[[Any], Any]) -> Callable[[Json], Any]:
    return lambda value: decode(value[name])


def _moment(value: Json) -> Moment:
    moment: Moment = value["_moment"]()
    value["_moment"] = partial(Moment, *moment)  # instead of what holds the bytes of the answer
    return moment


Session.decoders = {
    "id": itemgetter("id"),
    "subject": itemgetter("subject"),
    "client_id": itemgetter("client_id"),
    "acr": _optional("acr"),
    "amr": _optional("amr", tuple, ()),
    "authenticated_at": _required("authenticated_at", instant),
    "idle_expires_at": _required("idle_expires_at", instant),
    "expires_at": _required("expires_at", instant),
    "claims": lambda value: value.get("claims") or {},
    "opened_by": _optional("opened_by"),
    "state": _optional("state", str, "active"),
    "created_at": _optional("created_at", instant),
    "last_used_at": _optional("last_used_at", instant),
    "scopes": _optional("scope", _words, ()),
    "device": lambda value: Device.of(value.get("device") or {}),
    "data": lambda value: value.get("data") or {},
    "remember": _optional("remember", bool, False),
    "families": lambda value: tuple(map(Family.of, value.get("families") or ())),
    "ended": _optional("ended", Ended.of),
    "version": _optional("version", int, 0),
    "moment": _moment,
}
AccessToken.decoders = {
    "subject": itemgetter("sub"),
    "client_id": itemgetter("client_id"),
    "scopes": _optional("scope", _words, ()),
    "audience": _optional("aud"),
    "issuer": _optional("iss"),
    "expires_at": _required("exp", _seconds),
    "issued_at": _optional("iat", _seconds),
    "id": _optional("jti"),
    "session_id": _optional("sid"),
    "acr": _optional("acr"),
    "amr": _optional("amr", tuple, ()),
    "authenticated_at": _optional("auth_time", _seconds),
    "claims": lambda value: value.get("claims") or {},
    "moment": _moment,
}
for _type in (Session, AccessToken):
    for _name in _type.decoders.keys() & vars(_type).keys():  # a default would hide the member of the answer
        delattr(_type, _name)
