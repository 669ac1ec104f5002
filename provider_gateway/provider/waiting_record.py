"""The broker's record that a copy has just waited on the seed's route, as far as a client's own differs from it.

A client can write these headers, too. What the broker would not write together is a client's: RabbitMQ names the first
death (and since 4.0 the last) beside ``x-death``, it counts what happened, and it delivers a copy through the exchange
to which its queue dead-letters (guide "Dead Letter Exchanges"). A client that writes all of it cannot be told from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provider_gateway.config.queue_file import DleParams

_NAMES = ("queue", "reason", "exchange")


class WaitingRecord:
    """Reads the record of where a copy has just waited.

    Args:
        routes: the seed's routes of all entries.
    """

    def __init__(self, routes: Iterable[DleParams]) -> None:
        self._routes = list(routes)

    def queue(self, headers: Mapping[str, Any], exchange: str, routing_key: str) -> str | None:
        """The queue in which a message expired just before; None without a record that the broker would write.

        Args:
            headers: the message's.
            exchange: the exchange that routed the message.
            routing_key: the routing key that it was routed with.
        """
        deaths = headers.get("x-death")
        if not isinstance(deaths, list) or not deaths or not all(isinstance(each, dict) for each in deaths):
            return None
        queue = deaths[0].get("queue")
        if deaths[0].get("reason") != "expired" or not isinstance(queue, str):
            return None
        if not _is_consistent(deaths, headers):
            return None
        routes = [route for route in self._routes if route.dle_queue == queue]
        if routes and not any(_led_here(route, deaths[0], exchange, routing_key) for route in routes):
            return None
        return queue


def _is_consistent(deaths: Sequence[Mapping[str, Any]], headers: Mapping[str, Any]) -> bool:
    """True if counts and the other headers are as the broker writes them.

    Our copies begin without a record. So between two waits in one queue there is another death, of which another
    program is the cause, such as one of the old services with the same queue.
    """
    told = [each.get("count") for each in deaths]
    counts = [count for count in told if isinstance(count, int) and not isinstance(count, bool) and count > 0]
    if len(counts) < len(told) or counts[0] > 1 + sum(counts[1:]):
        return False
    named = [tuple(each.get(name) for name in _NAMES) for each in deaths]
    first, last = (tuple(headers.get(f"x-{which}-death-{name}") for name in _NAMES) for which in ("first", "last"))
    return first in named and last in (named[0], (None, None, None))


def _led_here(route: DleParams, death: Mapping[str, Any], exchange: str, routing_key: str) -> bool:
    """True if a message that waited on this route comes as this one did."""
    key = route.dle_args.get("x-dead-letter-routing-key", routing_key)
    return bool(death.get("exchange") == route.dle_exchange and exchange == route.way_back and routing_key == key)
