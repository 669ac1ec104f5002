"""The access file: which identities may use which routing keys, and how often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, model_validator

from provider_gateway.config.yaml_file import StrictModel, parse_entries, read_text
from provider_gateway.errors import Forbidden, RateLimited
from provider_gateway.security.identity import identity_matches
from provider_gateway.topology.routing import topic_matches

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.security.identity import Identity

#: Buckets after which those that are full, and so like new, are forgotten.
_MANY_BUCKETS = 10_000


class AccessRule(StrictModel):
    """One entry of the access file.

    Attributes:
        identities: names of client certificates; ``*.`` in front of the end of a name, or ``*`` alone, are patterns.
        routing_keys: binding keys of a topic exchange: ``*`` is one word, ``#`` any number.
        rate: requests per second for each identity, on average; None is any number.
        burst: requests that may come at once; one second's by default.
    """

    identities: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)]
    routing_keys: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)]
    rate: Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AccessRule:
        for each in self.identities:
            if each != "*" and "*" in each.removeprefix("*."):
                msg = f"{each!r}: '*' may stand alone or before a dot at the beginning"
                raise ValueError(msg)
        if self.burst is not None and self.rate is None:
            msg = "burst is of use with rate only"
            raise ValueError(msg)
        return self

    def allows(self, identity: Identity, routing_key: str) -> bool:
        """True if the rule is about this identity and this routing key."""
        return any(identity_matches(pattern, name) for pattern in self.identities for name in identity.names) and any(
            topic_matches(pattern, routing_key) for pattern in self.routing_keys
        )


_RULES = TypeAdapter(Annotated[tuple[AccessRule, ...], Field(strict=False)])


class _TokenBucket:
    """Lets requests through at a rate: each takes a token, and tokens come back with time.

    Args:
        rate: tokens per second.
        burst: tokens that it holds at most, and at first.
        now: seconds.
    """

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._then = now

    def is_full(self, now: float) -> bool:
        """True if it is like a new one."""
        return self._refill(now) >= self._burst

    def _refill(self, now: float) -> float:
        # A clock that is set back gives no tokens, and takes none.
        self._tokens = min(self._burst, self._tokens + self._rate * max(0.0, now - self._then))
        self._then = now
        return self._tokens

    def take(self, now: float) -> float:
        """Take a token.

        Returns:
            0, or the seconds after which there will be one.
        """
        if self._refill(now) >= 1:
            self._tokens -= 1
            return 0
        return (1 - self._tokens) / self._rate


class AccessRules:
    """Decides by the access file.

    Args:
        path: of the file.
        clock: times the rates.

    Raises:
        SettingsError: the file cannot be read or is wrong.

    Attributes:
        name: what is loaded, for logs.
        files: where from.
    """

    name = "access file"

    def __init__(self, path: Path, clock: IReactorTime) -> None:
        self._path = path
        self._clock = clock
        self.files = [path]
        self._rules: tuple[AccessRule, ...] = ()
        self._buckets: dict[tuple[AccessRule, str], _TokenBucket] = {}
        self.load()

    def load(self) -> None:
        """Read the file.

        Raises:
            SettingsError: it cannot be read or is wrong; nothing has changed.
        """
        text = read_text(self._path, "an access file (HTTP_ACCESS)")
        self._rules = parse_entries(text, f"HTTP_ACCESS: {self._path}", "access rules", _RULES)
        self._buckets.clear()

    def check(self, identity: Identity, routing_key: str) -> None:
        """Let a request pass; the first rule that allows it also says how often.

        Raises:
            Forbidden: no rule allows it.
            RateLimited: the identity has had its share.
        """
        for rule in self._rules:
            if rule.allows(identity, routing_key):
                if rule.rate is not None:
                    self._spend(rule, rule.rate, str(identity))
                return
        msg = f"The certificate of {str(identity)!r} may not use the routing key {routing_key!r}."
        raise Forbidden(msg)

    def _spend(self, rule: AccessRule, rate: float, name: str) -> None:
        now = self._clock.seconds()
        bucket = self._buckets.get((rule, name))
        if bucket is None:
            if len(self._buckets) >= _MANY_BUCKETS:
                self._buckets = {key: each for key, each in self._buckets.items() if not each.is_full(now)}
            burst = rule.burst if rule.burst is not None else max(1.0, rate)
            bucket = self._buckets[rule, name] = _TokenBucket(rate, burst, now)
        seconds = bucket.take(now)
        if seconds:
            msg = f"{name!r} may send {rate:g} requests per second."
            raise RateLimited(msg, math.ceil(seconds))
