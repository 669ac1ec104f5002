"""The network between a gateway and the broker is slow, narrow, or silent."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.faults.base import memory
from tests.faults.disturbances import pause
from tests.faults.ledger import Outcome
from tests.faults.wire import HEARTBEAT, WireTestCase

if TYPE_CHECKING:
    from tests.support.processes import Gateway

MEGABYTE = 1024 * 1024
#: Seconds that may pass beyond two heartbeats.
GRACE = 2.5
_BLOCKED = "urn:provider-gateway:problem:broker-blocked"
_UNKNOWN = "urn:provider-gateway:problem:outcome-unknown"


class ShapeTests(WireTestCase):
    """The network is slow, or silent."""

    async def test_09_single_bytes(self) -> None:
        """All bytes arrive one by one: all responses are right."""
        self.proxied()
        gateway = await self.gateway()
        await self.load(gateway, rate=5)
        self.proxy.slice_bytes = 1
        await self.confirmed(15)
        self.proxy.slice_bytes = None
        await self.finish(faults=0, confirmed=5)

    async def test_09_latency(self) -> None:
        """Half a second of latency, with jitter: all responses are right, memory stays flat."""
        self.proxied(tls=True)
        gateway = await self.gateway()
        await self.load(gateway)
        before = memory(gateway)
        self.proxy.delay, self.proxy.jitter = 0.5, 0.2
        await self.confirmed(100)
        self.proxy.delay = self.proxy.jitter = 0.0
        await self.finish(faults=0)
        self.assertLess(memory(gateway) - before, 20 * MEGABYTE)

    async def test_09_narrow(self) -> None:
        """1 KB/s: requests that do not get through are 503 or 504, memory stays flat, service resumes afterwards."""
        self.proxied(tls=True)
        gateway = await self.gateway(REPLY_TIMEOUT="2", MAX_IN_FLIGHT="50")
        await self.load(gateway)
        before = memory(gateway)
        self.proxy.bytes_per_second = 1000
        await self.until("504", lambda: self.http.statuses[504] > 20)
        self.proxy.bytes_per_second = None
        await self.finish(faults=1)
        self.assertLess(memory(gateway) - before, 20 * MEGABYTE)

    async def test_10_black_hole(self) -> None:
        """All bytes are lost, without TLS: both connections notice within two heartbeats, and reconnect."""
        await self.vanish(tls=False)

    async def test_10_black_hole_tls(self) -> None:
        """All bytes are lost, with TLS: both connections notice within two heartbeats, and reconnect."""
        await self.vanish(tls=True)

    async def test_10_unsent_bytes(self) -> None:
        """The broker does not read: requests get 503 instead of filling memory; noticed within two heartbeats.

        Memory grows by twice MAX_BUFFERED_BYTES, as docs/openshift.md says, and by what the process needs itself.
        """
        self.proxied(tls=True)
        gateway = await self.gateway(REPLY_TIMEOUT="1", MAX_BODY_BYTES="1000000", MAX_BUFFERED_BYTES=str(5 * MEGABYTE))
        await self.load(gateway)
        before = memory(gateway)
        self.proxy.stop_reading = True
        lost = self.logged_again(gateway, "consume is lost: no heartbeat")
        problems: list[str] = []
        while _BLOCKED not in problems:
            # Few at a time: the test measures unsent bytes, not the requests that wait.
            posts = [Deferred.fromCoroutine(self.publish_large(gateway)) for _ in range(4)]
            problems += [await each for each in posts]
        self.assertEqual(set(problems), {_BLOCKED, _UNKNOWN})
        await lost.addTimeout(2 * HEARTBEAT + GRACE, reactor)
        self.assertLess(memory(gateway) - before, 2 * 5 * MEGABYTE + 10 * MEGABYTE)
        self.proxy.stop_reading = False
        await self.reopened(gateway)
        await self.finish(faults=1)

    async def publish_large(self, gateway: Gateway) -> str:
        """Publish a large body, which may reach the broker or not; returns the problem document."""
        request = str(uuid.uuid4())
        self.ledger.sent(request)
        _, answer = await self.post(gateway, b'"%s"' % (b"x" * 900_000), path="/v1/publish", RqUID=request)
        problem: str = answer["type"]
        self.ledger.settled(request, Outcome.UNKNOWN if problem == _UNKNOWN else Outcome.REFUSED)
        return problem

    async def vanish(self, *, tls: bool) -> None:
        """Lose all bytes until the gateway has noticed."""
        self.proxied(tls=tls)
        gateway = await self.gateway(REPLY_TIMEOUT="2")
        await self.load(gateway)
        lost = self.logged_again(gateway, "publish is lost: no heartbeat", "consume is lost: no heartbeat")
        self.proxy.black_hole = True
        await lost.addTimeout(2 * HEARTBEAT + GRACE, reactor)
        await self.until("503", lambda: self.http.statuses[503])
        back = self.reconnected(gateway)
        self.proxy.black_hole = False
        await back
        await self.finish(faults=1)

    async def reopened(self, gateway: Gateway) -> None:
        """Wait until the gateway is ready again."""
        while (await self.admin(gateway, "/health/ready"))[0] != 200:
            await pause(0.2)
