"""The process ends, or has no file descriptors left, under load; the numbers are rows of the fault matrix."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone

from devtools.ports import free_ports
from tests.faults.base import cpu
from tests.faults.ledger import Outcome
from tests.faults.serving import PREFETCH, LoadedTestCase, pause

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from tests.support.processes import Gateway

DRAIN_TIMEOUT = 10
#: Seconds between a model response and the kill: before the reply, before its confirm, before the ack.
MOMENTS = (0.0, 0.001, 0.002, 0.004, 0.008)
#: File descriptors left to the process, and connections that are opened to it.
SPARE, MANY = 6, 40


class EndTests(LoadedTestCase):
    """The process ends, and another one starts on the same port."""

    async def setUp(self) -> None:
        await super().setUp()
        self.variables = {"HTTP_PORT": str(free_ports(1)[0]), "DRAIN_TIMEOUT": str(DRAIN_TIMEOUT)}

    async def test_24_terminated(self) -> None:
        """SIGTERM under load: accepted requests are answered, status 0 in time; the rest waits for another process."""
        gateway = await self.serve(**self.variables).ready()
        await self.load(gateway)
        gateway.signal("TERM")
        started = reactor.seconds()
        self.assertEqual(await gateway.when_ended(), 0, gateway.errors)
        self.assertLess(reactor.seconds() - started, DRAIN_TIMEOUT)
        await self.until("refused", lambda: self.http.statuses[0] > 5)
        unanswered = self.ledger.with_outcome(Outcome.UNKNOWN) & self.calls().keys()
        self.assertEqual(unanswered, set())
        self.assertLessEqual(set(self.http.statuses), {0, 200, 503})
        await self.serve(**self.variables).ready()
        await self.balances()
        self.assertEqual(set(self.calls().values()), {1})

    async def test_16_killed_during_the_call(self) -> None:
        """SIGKILL under load during model calls: redelivered; at most one more call of each message in flight."""
        gateway = await self.serve(**self.variables).ready()
        await self.load(gateway)
        held = self.hold()
        await self.look_until("prefetch", lambda: self.in_work(gateway, PREFETCH))
        gateway.signal("KILL")
        await gateway.when_ended()
        held.callback(None)
        await self.serve(**self.variables).ready()
        await self.balances(1)
        counts = list(self.calls().values())
        self.assertEqual((max(counts), counts.count(2)), (2, PREFETCH))
        self.assertEqual(self.ledger.duplicates(), 0)

    async def test_16_killed_after_the_answer(self) -> None:
        """Repeated SIGKILL right after a model response: at most that message is answered twice."""
        gateway = await self.serve(**self.variables).ready()
        await self.load(gateway)
        for moment in MOMENTS:
            answered = self.kill_after_answer(gateway, moment)
            await gateway.when_ended()
            self.assertTrue(answered)
            gateway = await self.serve(**self.variables).ready()
            await self.confirmed(10)
        await self.balances(len(MOMENTS))
        surplus = sum(self.calls().values()) - len(self.calls())
        self.assertLessEqual(surplus, len(MOMENTS) * PREFETCH)
        self.assertLessEqual(max(self.calls().values()), 1 + len(MOMENTS))

    async def in_work(self, gateway: Gateway, count: int) -> bool:
        return await self.metric(gateway, "deliveries_in_flight") == count

    def kill_after_answer(self, gateway: Gateway, seconds: float) -> list[bytes]:
        """Kill a gateway some seconds after the next model response; returns a list that gets that request."""
        before, answered = self.model.answer, []

        def answer(body: bytes) -> Any:
            return before(body).addCallback(kill)

        def kill(result: tuple[int, bytes]) -> tuple[int, bytes]:
            self.model.answer = before
            if not answered:
                reactor.callLater(seconds, gateway.signal, "KILL")
            answered.append(result[1])
            return result

        self.model.answer = answer
        return answered


class Idler(Protocol):
    """A connection that sends nothing."""

    def __init__(self) -> None:
        self.lost = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class DescriptorTests(LoadedTestCase):
    """The process runs out of file descriptors."""

    async def test_25_no_descriptors(self) -> None:
        """File descriptors used up under load: new connections fail, the others go on; the process recovers."""
        self.keys |= {"dle": True, "retryDelay": 300, "maxAttempts": 50}
        gateway = await self.serve().ready()
        await self.load(gateway)
        assert gateway.transport is not None
        pid = gateway.transport.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        opened = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + SPARE, before[1]))
        port = await gateway.port("https")
        idlers = [await self.idler(port) for _ in range(MANY)]
        computed = cpu(gateway)
        await pause(1)
        self.assertLess(cpu(gateway) - computed, 0.5)
        answered = self.ledger.statuses[200]
        await self.until("more answers", lambda: self.ledger.statuses[200] > answered + 40)
        self.assertGreater(sum(each.lost for each in idlers), MANY - 2 * SPARE)
        self.assertIsNone(gateway.ended)
        self.assertEqual([line["message"] for line in gateway.log if "is lost" in line["message"]], [])
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for each in idlers:
            each.transport.abortConnection()
        status, _ = await self.ready(gateway)
        self.assertEqual(status, 200)
        first = len(self.http.answers)
        await self.until("calls", lambda: len(self.http.answers) > first + 40)
        self.assertEqual({status for status, _ in self.http.answers[first + 20 :]}, {200})
        await self.balances()

    def idler(self, port: int) -> Deferred[Idler]:
        """A new connection."""
        connecting: Deferred[Idler] = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Idler())
        return connecting
