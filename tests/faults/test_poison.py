"""Messages that could end each process that serves them do not return for ever; row 27 of the matrix."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pika

from provider_gateway.message.properties import CopiedProperties
from provider_gateway.topology.declarations import DELIVERY_LIMIT
from tests.faults.base import echo_after
from tests.faults.ledger import fresh_id
from tests.faults.serving import PREFETCH, SOME, LoadedTestCase

if TYPE_CHECKING:
    from tests.faults.hostile import HostileModel
    from tests.support.processes import Gateway

#: Levels beyond Python's recursion limit, in one frame.
DEPTH = 2000
#: Gateways at a time, while one message kills them one after the other.
GATEWAYS = 2


def nested(depth: int) -> bytes:
    """A table in a table in a table."""
    value = b"V"
    for _ in range(depth):
        entry = b"\x01t" + value
        value = b"F" + struct.pack(">I", len(entry)) + entry
    return value


def nested_lists(depth: int) -> bytes:
    """A list in a list in a list."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


#: Headers as bytes, by what is odd about them: a name or value that Python cannot represent, or their depth.
ODD_HEADERS = {
    "a time stamp beyond the year 9999": b"\x04TimeT" + struct.pack(">Q", 2**62),
    "a number with a fraction": b"\x04Halfd" + struct.pack(">d", 0.5),
    "a decimal with 255 places": b"\x03DecD\xff" + struct.pack(">i", 7),
    "a name and a value that are not UTF-8": b"\x03\xff\xfe\xfdS" + struct.pack(">I", 2) + b"\xff\xfe",
    "an empty name": b"\x00V",
    "one name twice": b"\x01aV\x01at\x01",
    "deep tables": b"\x04Deep" + nested(DEPTH),
    "deep lists": b"\x04Deep" + nested_lists(DEPTH),
}
ODD = b"\xff\xfe\xf0"
#: Properties that are not UTF-8.
ODD_PROPERTIES = ("correlation_id", "message_id", "content_type", "type", "app_id", "reply_to")


class PoisonTests(LoadedTestCase):
    """Poison messages among others."""

    async def test_27_undecodable(self) -> None:
        """Messages that cannot be decoded completely are answered or parked; the connections stay open."""
        gateway = await self.serve().ready()
        await self.load(gateway)
        requests = await self.on_channel(self.publish_undecodable)
        await self.look_until("calls", lambda: self.called(list(requests)), 10)
        await self.balances()
        self.assertEqual([line["message"] for line in gateway.log if "lost" in line["message"]], [])
        self.assertEqual({self.calls()[request] for request in requests}, {1})

    def publish_undecodable(self, channel: Any) -> dict[str, str]:
        """Publish one message of each kind; returns their ids, and what is wrong with each."""
        found = {}
        for what, odd in ODD_HEADERS.items():
            request = fresh_id("odd")
            plain = pika.BasicProperties(reply_to=self.output, correlation_id=request)
            self.publish_one(channel, request, CopiedProperties(plain, request, {"RqUID": request}, odd))
            found[request] = what
        for name in ODD_PROPERTIES:
            request = fresh_id("odd")
            values: dict[str, Any] = {"headers": {"RqUID": request}, name: ODD}
            self.publish_one(channel, request, pika.BasicProperties(**values))
            found[request] = name
        return found

    async def test_27_kills(self) -> None:
        """A message kills each process that serves it: parked after 20 deliveries; messages around it are answered."""
        self.model.misdeed = lambda body: self.kill if b'"odd-' in body else None
        self.model.answer = echo_after(0.2)
        self.by_path: dict[str, Gateway] = {}
        for _ in range(GATEWAYS):
            self.start_one()
        for each in list(self.by_path.values()):
            await each.ready()
        amqp = self.initiator(rate=20)
        running = amqp.publish()
        await self.confirmed(20)
        request = await self.on_channel(self.publish_killer)
        await self.until("told", lambda: self.ledger.statuses[500], 90)
        parked = await self.parked()
        self.assertEqual({each: parked[each]["pg-reason"] for each in parked}, {request: "redelivered"})
        self.assertEqual(self.calls()[request], 1 + DELIVERY_LIMIT)
        await self.confirmed(20)
        amqp.stop()
        await running
        await self.drained()
        self.ledger.check(self, duplicates_at_most=DELIVERY_LIMIT * PREFETCH)

    def publish_killer(self, channel: Any) -> str:
        """Publish the message that kills, with others before and after it; returns its id."""
        requests = [fresh_id("near") for _ in range(SOME)]
        killer = fresh_id("odd")
        requests.insert(SOME // 2, killer)
        for request in requests:
            properties = pika.BasicProperties(message_id=request, headers={"RqUID": request})
            self.publish_one(channel, request, properties)
        return killer

    def start_one(self) -> None:
        """Start a gateway whose number is in the path of the model's URL."""
        path = f"/{len(self.gateways)}"
        self.by_path[path] = self.serve("--role", "provider", MODEL_URL=self.model_url + path)

    def kill(self, _model: HostileModel, request: Any) -> None:
        """Kill the gateway whose model call has this path."""
        path = request.path.decode().removeprefix("/predict")
        self.by_path[path].signal("KILL")
        self.start_one()
