"""The access file: which identities may use which routing keys, how often, which webhooks, and which parking queues."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from provider_gateway.config.schema_details import SchemaDetails, given, needs
from provider_gateway.config.yaml_file import StrictModel, parse_entries, read_text
from provider_gateway.errors import BadRequest, Forbidden, RateLimited
from provider_gateway.security.identity import identity_matches
from provider_gateway.security.parking_rights import Right
from provider_gateway.security.token_bucket import TokenBucket
from provider_gateway.security.webhook_endpoints import NAMES_IN_SCHEMA, WebhookEntry, checked_names, load_endpoint
from provider_gateway.topology.overlaps import can_lead
from provider_gateway.topology.routing import topic_matches

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.security.identity import Identity
    from provider_gateway.security.webhook_endpoints import Endpoint

#: With this many buckets, the full ones are dropped before another is made: a full bucket is like a new one.
_MANY_BUCKETS = 10_000


#: A star may stand alone, or before a dot at the beginning.
_IDENTITIES = r"^(?:\*|(?:\*\.)?[^*]*)$"


def _together(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema which keys need each other."""
    schema["required"] = [name for name in schema["required"] if name != "routingKeys"]
    routing_keys, parking, queues = (given(name, {"type": "array"}) for name in ("routingKeys", "parking", "queues"))
    rate = given("rate", {"type": "number"})
    schema["anyOf"] = [routing_keys, parking]
    schema["allOf"] = [
        needs(given("burst", {"type": "integer"}), rate),
        needs(rate, routing_keys),
        needs(parking, queues),
        needs(queues, parking),
    ]


class AccessRule(StrictModel):
    """One entry of the access file.

    Attributes:
        identities: names of client certificates, or patterns: ``*.example.org`` for all names below, ``*`` for all.
        routing_keys: patterns, as of a topic exchange: ``*`` is one word, ``#`` any number of words; None if the rule
            is about parking queues only.
        rate: requests per second for each identity, on average; None for no limit.
        burst: requests that may come at once; None for those of one second, at least one.
        webhooks: the endpoints that these identities may name, by their names.
        parking: what they may do with the messages that are parked for ``queues``.
        queues: work queues by their names; ``*`` stands for all.
    """

    model_config = ConfigDict(json_schema_extra=_together)

    identities: Annotated[
        tuple[Annotated[str, Field(min_length=1), SchemaDetails({"pattern": _IDENTITIES})], ...],
        Field(min_length=1, strict=False),
    ]
    routing_keys: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)] | None
    rate: Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    webhooks: Annotated[dict[str, WebhookEntry], AfterValidator(checked_names), NAMES_IN_SCHEMA] = Field(default={})
    parking: Annotated[tuple[Right, ...], Field(min_length=1, strict=False)] | None = None
    queues: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _routing_keys_may_be_left_out(cls, data: Any) -> Any:
        """A rule with ``parking`` needs no routing keys. For every other one the missing key is named as usual."""
        return {"routingKeys": None, **data} if isinstance(data, dict) and "parking" in data else data

    @model_validator(mode="after")
    def _consistent(self) -> AccessRule:
        for each in self.identities:
            if each != "*" and "*" in each.removeprefix("*."):
                msg = f"{each!r}: '*' may stand alone or before a dot at the beginning"
                raise ValueError(msg)
        if self.burst is not None and self.rate is None:
            msg = "burst is of use with rate only"
            raise ValueError(msg)
        if (self.parking is None) != (self.queues is None):
            msg = "parking and queues: expected both or neither"
            raise ValueError(msg)
        if self.routing_keys is None:
            if self.parking is None:
                msg = "routingKeys: expected a list"
                raise ValueError(msg)
            if self.rate is not None:
                msg = "rate is of use with routingKeys only"
                raise ValueError(msg)
        return self

    def allows(self, identity: Identity, routing_key: str) -> bool:
        """True if the rule matches this identity and this routing key."""
        return any(identity_matches(pattern, name) for pattern in self.identities for name in identity.names) and any(
            topic_matches(pattern, routing_key) for pattern in self.routing_keys or ()
        )

    def is_for(self, name: str) -> bool:
        """True if the rule matches this name of an identity, for whatever routing key."""
        return any(identity_matches(pattern, name) for pattern in self.identities)


_RULES = TypeAdapter(Annotated[tuple[AccessRule, ...], Field(strict=False)])


def read_rules(path: Path) -> tuple[AccessRule, ...]:
    """Read an access file, and none of the files that its webhooks name.

    Raises:
        SettingsError: the file cannot be read or is wrong.
    """
    return parse_entries(
        read_text(path, "an access file (HTTP_ACCESS)"), _where(path), "access rules", _RULES, keys="docs/security.md"
    )


def _where(path: Path) -> str:
    """The access file in texts of errors."""
    return f"HTTP_ACCESS: {path}"


class AccessRules:
    """The rules of an access file, in force. Reads the file when it is made.

    Args:
        path: the access file.
        clock: times the rates.

    Raises:
        SettingsError: the file cannot be read or is wrong.

    Attributes:
        name: names the rules in logs and metrics.
        files: the access file, and the files that its webhooks name.
    """

    name = "access file"

    def __init__(self, path: Path, clock: IReactorTime) -> None:
        self._path = path
        self._clock = clock
        self.files = [path]
        self._rules: tuple[AccessRule, ...] = ()
        #: The endpoints of each rule.
        self._endpoints: list[dict[str, Endpoint]] = []
        #: By the index of the rule, and the identity.
        self._buckets: dict[tuple[int, str], TokenBucket] = {}
        self.load()

    def load(self) -> None:
        """Read the file, and begin all rates anew.

        Raises:
            SettingsError: the file cannot be read or is wrong. The old rules and rates stay in force.
        """
        rules = read_rules(self._path)
        where, folder = _where(self._path), self._path.parent
        # Also if one of the files is wrong: once it is mended, it is time to load again.
        self.files = [
            self._path,
            *(file for rule in rules for each in rule.webhooks.values() for file in each.files(folder)),
        ]
        self._endpoints = [
            {
                name: load_endpoint(name, entry, folder, f"{where}: [{index}].webhooks.{name}")
                for name, entry in rule.webhooks.items()
            }
            for index, rule in enumerate(rules)
        ]
        self._rules = rules
        self._buckets.clear()

    def check(self, identity: Identity, routing_key: str) -> None:
        """Check a request, and count it. The first rule that matches it decides its rate.

        Raises:
            Forbidden: no rule matches.
            RateLimited: the identity has used up the rate.
        """
        for index, rule in enumerate(self._rules):
            if rule.allows(identity, routing_key):
                if rule.rate is not None:
                    self._spend(index, rule, rule.rate, str(identity))
                return
        msg = f"The certificate of {str(identity)!r} may not use the routing key {routing_key!r}."
        raise Forbidden(msg)

    def endpoint(self, identity: Identity | None, name: str) -> str:
        """Find the endpoint that a request's ``Webhook`` header names: of the first rule for the caller that has it.

        Args:
            identity: the caller's; None without TLS.

        Returns:
            What the record's ``webhook`` is to be. It holds the name by which the rule matched: an identity may have
            others, one of which owns the record.

        Raises:
            BadRequest: the rules register no such endpoint for the identity.
        """
        if identity is not None:
            for rule in self._rules:
                if name in rule.webhooks:
                    for each in filter(rule.is_for, identity.names):
                        return f"{name} {each}"
        who = "a caller without a certificate" if identity is None else repr(str(identity))
        msg = f"The header Webhook names {name!r}, and the access file registers no such endpoint for {who}."
        raise BadRequest(msg)

    def endpoint_now(self, webhook: str) -> Endpoint | None:
        """The endpoint of a record, by the rules that are in force now.

        Args:
            webhook: the record's, from :meth:`endpoint`.

        Returns:
            None if the rules do not register it any more.
        """
        name, _, identity = webhook.partition(" ")
        for rule, endpoints in zip(self._rules, self._endpoints, strict=True):
            if name in endpoints and rule.is_for(identity):
                return endpoints[name]
        return None

    def endpoint_names(self, identity: Identity) -> tuple[str, ...]:
        """The names that :meth:`endpoint` takes from an identity."""
        rules = (rule for rule in self._rules if any(map(rule.is_for, identity.names)))
        return tuple(sorted({name for rule in rules for name in rule.webhooks}))

    def allow(self, identity: Identity, routing_key: str) -> bool:
        """True if a rule lets an identity use a routing key. Nothing is counted."""
        return any(rule.allows(identity, routing_key) for rule in self._rules)

    def allow_any(self, identity: Identity, entry: QueueEntry) -> bool:
        """True if the rules let an identity use some routing key that leads to an entry's queue. Nothing is counted."""
        patterns = {
            pattern
            for rule in self._rules
            if any(map(rule.is_for, identity.names))
            for pattern in rule.routing_keys or ()
        }
        return any(can_lead(entry, pattern) for pattern in patterns)

    @property
    def open_parking(self) -> bool:
        """True if a rule gives somebody a right on a parking queue."""
        return any(rule.parking for rule in self._rules)

    def parking_rights(self, identity: Identity) -> dict[str, frozenset[Right]]:
        """What an identity may do with parked messages: all that any rule for it gives.

        Returns:
            By work queue; ``*`` stands for all queues.
        """
        rights: dict[str, frozenset[Right]] = {}
        for rule in self._rules:
            if rule.parking and any(map(rule.is_for, identity.names)):
                for queue in rule.queues or ():
                    rights[queue] = rights.get(queue, frozenset()).union(rule.parking)
        return rights

    def _spend(self, index: int, rule: AccessRule, rate: float, name: str) -> None:
        now = self._clock.seconds()
        bucket = self._buckets.get((index, name))
        if bucket is None:
            if len(self._buckets) >= _MANY_BUCKETS:
                self._buckets = {key: each for key, each in self._buckets.items() if not each.is_full(now)}
            burst = rule.burst if rule.burst is not None else max(1.0, rate)
            bucket = self._buckets[index, name] = TokenBucket(rate, burst, now)
        seconds = bucket.take(now)
        if seconds:
            msg = f"{name!r} may send {rate:g} requests per second."
            raise RateLimited(msg, math.ceil(seconds))
