"""The base of the tests of parking: a work queue with its parking queue, messages in it, and the engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.deferreds import sleep
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.parking.operators import Operator
from provider_gateway.parking.parking import Parking
from provider_gateway.parking.places import places_of
from tests.contract.base import BrokerContract
from tests.contract.brokers import on_both
from tests.support.rabbitmq import declare_objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel

    from provider_gateway.parking.jobs import JobDocument

#: A morning in 2026, in milliseconds.
MORNING = 1_769_850_000_000
OPERATOR = Operator("olga", "10.0.0.7")


class ParkingContract(BrokerContract):
    """A work queue with its parking queue, and the engine.

    Attributes:
        kind: type of the queues.
        lines: the audit log.
    """

    kind = "classic"

    async def setUp(self) -> None:
        await super().setUp()
        self.lines: list[Any] = []
        self.entry = self.new_entry("work")
        self.parking = self.engine()
        await self.use(self.declare)

    def new_entry(self, what: str, **keys: Any) -> QueueEntry:
        """An entry; all its objects are deleted after the test."""
        name = self.name(what)
        for each in ("parking", "return", "parking.operator"):
            self.name(f"{what}.{each}")
        given = {"topic": self.name("topic"), "queueName": name, "bindingKey": "predict.*", "queueType": self.kind}
        return QueueEntry.model_validate({**given, **keys})

    def engine(self, *entries: QueueEntry, **options: Any) -> Parking:
        """The engine of another process."""
        given = entries or (self.entry,)
        settings = Settings(_env_file=None, rmq_url=self.url, model_url="http://127.0.0.1:1/")  # type: ignore[call-arg]
        places = places_of(given, webhooks=False)
        made = Parking(
            reactor, settings, given, tls=None, places=places, audit=self.lines.append, wall_clock=time.time, **options
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
        return made

    def use(self, use: Callable[[BlockingChannel], Any]) -> Deferred[Any]:
        """Do something at the broker as another program."""
        return self.run_on_channel(use)

    def declare(self, channel: BlockingChannel, entry: QueueEntry | None = None) -> None:
        """Declare an entry's objects."""
        declare_objects(channel, entry or self.entry)

    def park(self, count: int, *, first: int = 0, size: int = 10, **more: Any) -> Deferred[Any]:
        """Park messages as the provider does: their bodies begin with their numbers, and every third has timed out."""

        def publish(channel: BlockingChannel) -> None:
            plain = channel.connection.channel()
            for number in range(first, first + count):
                headers = {
                    "RqUID": f"r-{number}", "pg-queue": self.entry.queue_name, "pg-attempt": 5, "pg-copy": f"c{number}",
                    "pg-reason": "5xx" if number % 3 else "timeout", "pg-parked-at": MORNING + number,
                    "pg-routing-key": "predict.now", "X-Mine": "kept", **more.get("headers", {}),
                }  # fmt: skip
                given = {"reply_to": "elsewhere", "message_id": f"m{number}", "correlation_id": f"k{number}"}
                given |= {name: value for name, value in more.items() if name != "headers"}
                properties = pika.BasicProperties(headers=headers, delivery_mode=2, **given)
                plain.basic_publish("", self.entry.parking, b"%d %b" % (number, b"x" * size), properties)
            self.wait_for_count(channel, self.entry.parking, first + count)

        return self.use(publish)

    def numbers(self, queue: str) -> Deferred[list[int]]:
        """The numbers of the messages in a queue, in their order; they stay."""

        def read(channel: BlockingChannel) -> list[int]:
            found = []
            for _ in range(self.count(channel, queue)):
                found.append(int(channel.basic_get(queue)[2].split()[0]))
            return found

        return self.use(read)

    def taken(self, queue: str) -> Deferred[list[tuple[Any, Any, bytes]]]:
        """All messages of a queue, taken from it: method, properties and body of each."""

        def take(channel: BlockingChannel) -> list[tuple[Any, Any, bytes]]:
            return [channel.basic_get(queue, auto_ack=True) for _ in range(self.count(channel, queue))]

        return self.use(take)

    def run_job(
        self, action: Any = "replay", *, engine: Parking | None = None, **request: Any
    ) -> Deferred[JobDocument]:
        """Run a job to its end."""
        given = {"queue": self.entry.queue_name, "operator": OPERATOR, **request}
        return (engine or self.parking).start(JobRequest(action=action, **given)).when_over()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds."""
        for _ in range(1000):
            if condition():
                return
            await sleep(reactor, 0.01)  # type: ignore[arg-type] # zope interfaces
        self.fail("what was waited for did not happen")


def on_both_types(contract: type[ParkingContract]) -> type[ParkingContract]:
    """Make the test cases of a contract for classic and for quorum queues, each on both brokers."""
    for kind in ("classic", "quorum"):
        more = {"__module__": contract.__module__, "__doc__": f"{kind.capitalize()} queues.", "kind": kind}
        on_both(type(f"{contract.__name__}{kind.capitalize()}", (contract,), more))
    return contract
