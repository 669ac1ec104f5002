"""Messages as the broker keeps them: properties byte for byte, and what dead-lettering writes into them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from pika.compat import long

from provider_gateway.amqp.properties import CopiedProperties, ReceivedProperties, received
from provider_gateway.devbroker.arguments import milliseconds
from provider_gateway.devbroker.refusals import Refused, not_implemented

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTEGER = re.compile(r"[+-]?\d+")


def text(name: str | bytes) -> str:
    """A name from the wire; pika leaves those that are not UTF-8 as bytes."""
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def wire(name: str) -> bytes:
    """A name for the wire, with the bytes that it came with."""
    return name.encode("utf-8", "surrogateescape")


class ExactProperties(ReceivedProperties):
    """Properties that go out with the bytes that they came with."""

    @classmethod
    def of(cls, properties: ReceivedProperties) -> Self:
        """The same properties, exact from now on."""
        exact = cls()
        vars(exact).update(vars(properties))
        return exact

    def encode(self) -> list[bytes]:
        """Write properties (pika.amqp_object.Properties)."""
        return [self._encoded]

    def with_headers(self, headers: Mapping[str, Any], expiration: str | bytes | None) -> ExactProperties:
        """Properties that differ in these headers, in lower case, and in their expiration only."""
        kept = self.headers_that(lambda name: name not in headers)
        copy = CopiedProperties(self, self.message_id, headers, kept)
        copy.delivery_mode, copy.user_id, copy.cluster_id = self.delivery_mode, self.user_id, self.cluster_id
        copy.expiration = expiration
        return self.of(received(copy))


def _milliseconds(expiration: str | bytes) -> int:
    given = text(expiration)
    number = _INTEGER.match(given)
    why: str | None
    if number is None:
        why = "no_integer"
    elif number.end() < len(given):
        why = f'{{leftover_string,"{given[number.end() :]}"}}'
    else:
        why = milliseconds(int(given))
    if why is None:
        return int(given)
    raise Refused(406, f"invalid expiration '{given}': {why}")


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message, and where it was published to."""

    exchange: str
    routing_key: str
    properties: ExactProperties
    body: bytes

    def check(self, user: str) -> None:
        """Check what a client may get wrong in the properties.

        Raises:
            Refused: the expiration or the user id is wrong (406), or something is asked for that is not implemented.
        """
        sender, headers = self.properties.user_id, self.properties.headers or {}
        if sender is not None and text(sender) != user:
            raise Refused(406, f"user_id property set to '{text(sender)}' but authenticated user was '{user}'")
        _ = self.time_to_live
        if "CC" in headers or "BCC" in headers:
            raise not_implemented("headers CC and BCC")
        if self.properties.reply_to == "amq.rabbitmq.reply-to":
            raise Refused(406, "fast reply consumer does not exist")

    @property
    def time_to_live(self) -> int | None:
        """Milliseconds, if the message has an expiration of its own.

        Raises:
            Refused: the expiration is not a number (406).
        """
        return None if self.properties.expiration is None else _milliseconds(self.properties.expiration)

    @property
    def deaths(self) -> list[Any]:
        """The header ``x-death``: one table for each queue and reason, newest first; [] for what clients make of it."""
        deaths = (self.properties.headers or {}).get("x-death")
        return deaths if isinstance(deaths, list) and all(isinstance(each, dict) for each in deaths) else []

    def dead_lettered(self, queue: str, reason: str, exchange: str, routing_key: str, now: float) -> Message:
        """What is published when this message is dead-lettered.

        Args:
            queue: where it was.
            reason: ``expired``, ``rejected``, ``maxlen`` or ``delivery_limit``.
            exchange: the dead-letter exchange.
            routing_key: for that exchange.
            now: seconds since 1970.
        """
        same = [each for each in self.deaths if (each.get("queue"), each.get("reason")) == (queue, reason)]
        others = [each for each in self.deaths if each not in same]
        if same and isinstance(same[0].get("count"), int):
            # RabbitMQ counts, and leaves the rest as it was the first time.
            newest = {**same[0], "count": long(same[0]["count"] + 1)}
        else:
            newest = {
                "count": long(1),
                "reason": reason,
                "queue": queue,
                "time": datetime.fromtimestamp(int(now), UTC),
                "exchange": self.exchange,
                "routing-keys": [self.routing_key],
            }
            if self.properties.expiration is not None:
                newest["original-expiration"] = text(self.properties.expiration)
        headers: dict[str, Any] = {"x-death": [newest, *others]}
        if "x-death" not in (self.properties.headers or {}):
            headers |= {
                "x-first-death-reason": reason,
                "x-first-death-queue": queue,
                "x-first-death-exchange": self.exchange,
            }
        return Message(exchange, routing_key, self.properties.with_headers(headers, None), self.body)

    def cycles_to(self, queue: str) -> bool:
        """True if routing it to a queue would close a cycle of deaths without a rejection, which would never end."""
        queues = [each.get("queue") for each in self.deaths]
        if queue not in queues:
            return False
        return all(each.get("reason") != "rejected" for each in self.deaths[: queues.index(queue) + 1])
