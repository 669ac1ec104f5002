"""Messages that are larger than the broker takes, beside others that are not; the numbers are rows of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThread

from tests.faults.hostile import answers, answers_at_length
from tests.faults.serving import SOME, LoadedTestCase
from tests.support.rabbitmq import limit

if TYPE_CHECKING:
    from tests.faults.callers import HTTPCallers
    from tests.support.processes import Gateway

FRAME_MAX, MAX_MESSAGE_SIZE = 8192, 50_000


class SizeTests(LoadedTestCase):
    """A broker with low limits. Load goes on; the model misbehaves towards messages whose ids begin with "odd"."""

    async def gateway(self, **limits: int) -> Gateway:
        """A gateway under load, on a broker with these limits."""
        await deferToThread(limit, self.node, **limits)
        self.addCleanup(deferToThread, limit, self.node)
        self.keys |= {"dle": True, "retryDelay": 300, "maxAttempts": 3}
        gateway = await self.serve().ready()
        await self.load(gateway)
        return gateway

    def odd(self, misdeed: Any) -> None:
        self.model.misdeed = lambda body: misdeed if b'"odd-' in body else None

    async def some_calls(self, gateway: Gateway, large: int) -> HTTPCallers:
        """Make some HTTP calls with a header of this many bytes."""
        callers = await self.callers(gateway, rate=50, headers={"X-Large": "x" * large})
        await callers.call(SOME)
        return callers

    async def unbroken(self, gateway: Gateway, faults: int = 0) -> None:
        """Check that no connection was lost, and that all plain requests were answered.

        Args:
            faults: channels that the broker closed: what it had not confirmed then was published again.
        """
        await self.balances(faults)
        self.assertEqual(await self.metric(gateway, "amqp_reconnects_total"), 0)
        self.assertEqual(set(self.http.statuses), {200})

    async def test_31_headers(self) -> None:
        """Headers over frame_max: 431 for requests, the stand-in for replies, and copies lose some of theirs."""
        gateway = await self.gateway(frame_max=FRAME_MAX)
        refused = await self.some_calls(gateway, 9000)
        self.assertEqual((refused.statuses, refused.problems), ({431: SOME}, {"headers-too-large": SOME}))
        self.odd(answers_at_length(headers=20_000))
        requests = await self.on_channel(self.publish_odd)
        await self.until("stand-ins", lambda: self.ledger.statuses[502] == SOME)
        self.assertEqual(self.calls().keys() & set(requests), set(requests))
        self.odd(answers(500))
        large = "x" * (FRAME_MAX - 200)
        await self.on_channel(lambda channel: self.publish_odd(channel, headers={"x-large": large, "x-small": "1"}))
        await self.look_until("parked", lambda: self.has_waiting(f"{self.queue}.parking", SOME))
        parked = await self.parked()
        self.assertEqual({headers["pg-dropped"] for headers in parked.values()}, {"x-large"})
        self.assertEqual({headers["pg-attempt"] for headers in parked.values()}, {3})
        self.assertEqual({headers["x-small"] for headers in parked.values()}, {"1"})
        self.assertEqual({count for request, count in self.calls().items() if request in parked}, {3})
        await self.unbroken(gateway)

    async def test_31_bodies(self) -> None:
        """Bodies over max_message_size: one is refused by the broker, others by us, and none harms its neighbours."""
        gateway = await self.gateway(frame_max=FRAME_MAX, max_message_size=MAX_MESSAGE_SIZE)
        response, problem = await self.post(gateway, b'"%b"' % (b"x" * MAX_MESSAGE_SIZE))
        self.assertEqual((response.code, problem["type"].rpartition(":")[2]), (413, "body-too-large"))
        self.http.answers.clear()  # of those that were sent just then, some are 503
        await self.until("others answered", lambda: self.http.statuses[200] > 10)
        self.http.answers.clear()
        for _ in range(SOME):
            response, _ = await self.post(gateway, b'"%b"' % (b"x" * MAX_MESSAGE_SIZE))
            self.assertEqual(response.code, 413)
        self.odd(answers_at_length(body=MAX_MESSAGE_SIZE))
        await self.on_channel(self.publish_odd)
        await self.until("stand-ins", lambda: self.ledger.statuses[502] == SOME)
        self.odd(answers_at_length(body=MAX_MESSAGE_SIZE - 2))
        await self.on_channel(self.publish_odd)
        await self.unbroken(gateway, faults=1)
