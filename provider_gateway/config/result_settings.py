"""The settings of results that are kept: where, for how long, and how large."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode

from provider_gateway.config.store_url import StoreURL, parse_store_url

#: Seconds; at most a year.
_Kept = Annotated[float, Field(ge=1, le=31_622_400, allow_inf_nan=False)]
#: How many times ``REPLY_TIMEOUT`` an instance's reply queue has to outlive its instance, see docs/delivery.md.
_OUTLIVES = 3


def _parse(value: object) -> object:
    return parse_store_url(value) if isinstance(value, str) else value


class ResultSettings(BaseSettings):
    """A part of :class:`.Settings`, see there. Without ``result_store`` nothing is kept."""

    result_store: Annotated[StoreURL | None, NoDecode, BeforeValidator(_parse)] = None
    result_ttl: _Kept = 86_400
    result_max_bytes: Annotated[int, Field(ge=1)] | None = None
    idempotency_ttl: _Kept = 86_400
    cancellations: bool | None = None

    @property
    def follows_cancellations(self) -> bool:
        """True if the provider is told which requests were canceled: ``CANCELLATIONS``, else if there is a store."""
        return self.result_store is not None if self.cancellations is None else self.cancellations


def expiry_risks(*, expires: float, reply_timeout: float) -> list[str]:
    """What is lost with a result store because a reply queue goes too early, one line each.

    Args:
        expires: ``REPLY_QUEUE_EXPIRES``.
        reply_timeout: ``REPLY_TIMEOUT``.
    """
    if expires >= _OUTLIVES * reply_timeout:
        return []
    risk = (
        f"REPLY_QUEUE_EXPIRES ({expires:g} s) is less than {_OUTLIVES} times REPLY_TIMEOUT ({reply_timeout:g} s): with "
        "RESULT_STORE, answers are lost that come when the reply queue of a dead instance is about to expire; raise it"
    )
    return [risk]
