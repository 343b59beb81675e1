"""What a route asks of a session or an access token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ._refusals import scope_missing, step_up_needed

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException

    from .._models import AccessToken, Session


class Demand(NamedTuple):
    """One of the values of `acr`, an authentication in the last `max_age` seconds, and all `scopes`."""

    acr: str | None
    max_age: int | None
    scopes: tuple[str, ...]

    def needs_step_up(self, found: Session | AccessToken) -> bool:
        """Whether the subject has to authenticate again."""
        if self.acr is not None and found.acr not in self.acr.split():
            return True
        if self.max_age is None:
            return False
        age = found.authentication_age
        return age is None or age.total_seconds() > self.max_age

    def refusal(self, found: Session | AccessToken) -> HTTPException | None:
        """The refusal, if a demand is not met."""
        if self.needs_step_up(found):
            return step_up_needed(self.acr, self.max_age)
        if self.scopes and not set(self.scopes).issubset(found.scopes):
            return scope_missing(dict.fromkeys(self.scopes))
        return None
