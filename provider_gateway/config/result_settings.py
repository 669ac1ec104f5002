"""The settings of results that are kept: where, for how long, and how large."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode

from provider_gateway.config.store_url import StoreURL, parse_store_url

#: Seconds; at most a year.
_Kept = Annotated[float, Field(ge=1, le=31_622_400, allow_inf_nan=False)]


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
