"""Messages as the broker keeps them, and the headers that dead-lettering adds."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pika.compat import long
from pika.data import encode_table
from pika.exceptions import UnsupportedAMQPFieldException

from provider_gateway.devbroker.arguments import MAX_MILLISECONDS, out_of_range
from provider_gateway.devbroker.refusals import Refused

if TYPE_CHECKING:
    from provider_gateway.devbroker.frames import ExactProperties

_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAX_COUNT = 2**63 - 1


def text(value: str | bytes) -> str:
    """A routing key or a property as text; pika returns bytes if it is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def wire(value: str) -> bytes:
    """The bytes from which :func:`text` made a text."""
    return value.encode("utf-8", "surrogateescape")


def _is_record(death: object) -> bool:
    """True for a table of plain values and lists of plain values, as brokers write it."""
    if not isinstance(death, dict):
        return False
    values = [each for value in death.values() for each in (value if isinstance(value, list) else [value])]
    return not any(isinstance(each, (dict, list)) for each in values)


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message, with the exchange and the key that it was published with."""

    exchange: str
    routing_key: str
    properties: ExactProperties
    body: bytes

    def check(self, user: str) -> None:
        """Check the properties.

        Args:
            user: who publishes the message.

        Raises:
            Refused: the expiration or the user id is wrong (406), or a header is not implemented (540).
        """
        sender, headers = self.properties.user_id, self.properties.headers or {}
        if sender is not None and text(sender) != user:
            raise Refused(406, f"user_id property set to '{text(sender)}' but authenticated user was '{user}'")
        _ = self.time_to_live
        if "CC" in headers or "BCC" in headers:
            raise Refused(540, "headers CC and BCC")
        if self.properties.reply_to == "amq.rabbitmq.reply-to":
            raise Refused(406, "fast reply consumer does not exist")

    @property
    def time_to_live(self) -> int | None:
        """The expiration of the message in milliseconds; None if it has none.

        Raises:
            Refused: the expiration is not a number (406).
        """
        if self.properties.expiration is None:
            return None
        given = text(self.properties.expiration)
        number = _INTEGER.match(given)
        if number is None:
            why: str | None = "no_integer"
        elif number.end() < len(given):
            why = f'{{leftover_string,"{given[number.end() :]}"}}'
        else:
            why = out_of_range(int(given), 0, MAX_MILLISECONDS)
        if why is not None:
            raise Refused(406, f"invalid expiration '{given}': {why}")
        return int(given)

    @property
    def deaths(self) -> list[Any]:
        """The header ``x-death``: a table for each queue and reason, newest first; [] if it is none of a broker."""
        deaths = (self.properties.headers or {}).get("x-death")
        if not isinstance(deaths, list) or not all(map(_is_record, deaths)):
            return []
        try:
            encode_table([], {"x-death": deaths})
        except (struct.error, UnsupportedAMQPFieldException):
            return []
        return deaths

    def dead_lettered(self, queue: str, reason: str, exchange: str, routing_key: str, now: float) -> Message:
        """The dead letter that is published in place of this message.

        Args:
            queue: the queue in which the message died.
            reason: ``expired``, ``rejected``, ``maxlen`` or ``delivery_limit``.
            exchange: the dead-letter exchange.
            routing_key: for that exchange.
            now: seconds since 1970.
        """
        same = [each for each in self.deaths if (each.get("queue"), each.get("reason")) == (queue, reason)]
        others = [each for each in self.deaths if each not in same]
        if same:
            # RabbitMQ increases the count, and keeps the other values of the first death.
            count = same[0].get("count")
            newest = {**same[0], "count": long(min(count + 1, _MAX_COUNT) if isinstance(count, int) else 1)}
        else:
            newest = {
                "count": long(1),
                "reason": reason,
                "queue": queue,
                "time": datetime.fromtimestamp(int(now), UTC),
                "exchange": self.exchange,
                # pika writes headers in UTF-8 only.
                "routing-keys": [wire(self.routing_key).decode("utf-8", "replace")],
            }
            if self.properties.expiration is not None:
                newest["original-expiration"] = text(self.properties.expiration)
        headers: dict[str, Any] = {"x-death": [newest, *others]}
        if "x-death" not in (self.properties.headers or {}):
            names = {"reason": reason, "queue": queue, "exchange": self.exchange}
            headers |= {f"x-first-death-{name}": value for name, value in names.items()}
        return Message(exchange, routing_key, self.properties.with_headers(headers, None), self.body)

    def cycles_to(self, queue: str) -> bool:
        """True if routing the dead letter to a queue would close a cycle without a rejection, which would never end."""
        queues = [each.get("queue") for each in self.deaths]
        if queue not in queues:
            return False
        return all(each.get("reason") != "rejected" for each in self.deaths[: queues.index(queue) + 1])
