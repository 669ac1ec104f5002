"""Models that refuse calls because they are busy; the numbers are rows of the fault matrix."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from tests.faults.ledger import fresh_id, id_in
from tests.faults.models import AbsentModelTestCase
from tests.faults.serving import pause

#: A model's capacity: calls at a time, and seconds for each.
SLOTS, SECONDS = 4, 0.05
#: Messages that wait for each model.
MANY = 240
#: Seconds in which a model could answer them.
LEAST = MANY / SLOTS * SECONDS
#: How each model refuses, and its entry.
REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "told": ({"status": 429, "retry_after": "1"}, {"queueType": "quorum"}),
    "untold": ({"status": 429}, {"dle": False}),
    "shed": ({"status": 503}, {}),
    "overloaded": ({"status": 503, "retry_after": "1", "spread": 0.5}, {"queueType": "quorum", "dle": False}),
    "single": ({"status": 429, "slots": 1, "seconds": LEAST / MANY}, {}),
    "limited": ({"status": 429, "slots": 100, "rate": 2 * MANY / LEAST, "seconds": 0.01}, {}),
}
#: Seconds for which a message is held.
BUSY_TIMEOUT = 2


class BusyTests(AbsentModelTestCase):
    """Messages wait in the queues of models that take few calls at a time."""

    async def setUp(self) -> None:
        await super().setUp()
        self.keys["prefetch"] = 50

    async def test_32_sheds(self) -> None:
        """Six models refuse what is beyond their capacity, each in its way: all is answered, few calls are refused.

        429 and 503, with and without ``Retry-After``; a model that takes one call at a time; a rate limiter.
        Classic and quorum queues, with and without ``dle``.
        """
        model = await self.begin_model(slots=SLOTS, seconds=SECONDS)
        for kind, (refusal, _) in REFUSALS.items():
            await model.tell(**{"kind": kind, **refusal})
        gateway = await self.serve_kinds(model, {kind: keys for kind, (_, keys) in REFUSALS.items()})
        self.initiator()
        for kind in REFUSALS:
            await self.backlog(kind, MANY)
        await self.answered(MANY * len(REFUSALS))
        for kind, figures in (await model.tell()).items():
            if kind in REFUSALS:
                self.assertLess(figures.share_refused, 0.5, kind)
        self.assertEqual(await self.metric(gateway, "retried_total"), 0)
        await self.none_failed()

    async def test_32_replicas(self) -> None:
        """Two processes, one of them with two workers, share a model that takes four calls at a time."""
        model = await self.begin_model(slots=SLOTS, seconds=SECONDS)
        entries = {"shared": {}}
        await self.serve_kinds(model, entries)
        await self.serve_kinds(model, entries, WORKERS="2")
        self.initiator()
        await self.backlog("shared", 2 * MANY)
        await self.answered(2 * MANY)
        await self.none_failed()

    async def test_32_capacity_changes(self) -> None:
        """The model takes 16 calls at a time, then one, then refuses all for some seconds, then 16 again."""
        model = await self.begin_model(slots=16, seconds=SECONDS, status=503)
        await self.serve_kinds(model, {"varied": {}})
        amqp = self.initiator(rate=100, kind="varied")
        publishing = amqp.publish()
        await self.answered(50)
        for slots in (1, 0, 16):
            await model.tell(slots=slots, kind="varied")
            await pause(2)
        amqp.stop()
        await publishing
        await self.none_failed()

    async def test_32_busy_timeout(self) -> None:
        """A message refused for longer than ``busyTimeout`` fails like others: attempts, parking; an error reply.

        The messages beside it are answered. Without ``dle``, the error is the reply at once.
        """
        model = await self.begin_model(seconds=SECONDS, status=503)
        keys = {"busyTimeout": BUSY_TIMEOUT}
        gateway = await self.serve_kinds(model, {"tried": keys, "told": {**keys, "dle": False}})
        self.initiator()
        refused = [fresh_id(kind) for kind in ("tried", "told")]
        for request in refused:
            await model.tell(kind=request.partition("-")[0], refused=[request])
            await self.publish([request])
        started = reactor.seconds()
        await self.until("refused", lambda: self.ledger.statuses[502] == 1, 30)
        self.assertGreater(reactor.seconds() - started, BUSY_TIMEOUT / 2)
        for kind in ("tried", "told"):
            await self.backlog(kind, 40)
        await self.answered(80)
        await self.until("both refused", lambda: self.ledger.statuses[502] == 2, 30)
        [(properties, body)] = await self._take_all(f"{self.queue}.tried.parking")
        self.ledger.parked(refused[0])
        self.assertEqual(id_in(body), refused[0])
        self.assertEqual((properties.headers["pg-attempt"], properties.headers["pg-reason"]), (2, "busy"))
        self.assertEqual(await self.metric(gateway, "retried_total"), 1)
        await self.drained()
        self.ledger.check(self)

    async def test_32_callers(self) -> None:
        """HTTP callers get the model's answer, not its 503, though it is busy for some seconds."""
        model = await self.begin_model(slots=0, seconds=SECONDS, status=503, retry_after="1")
        gateway = await self.serve(MODEL_URL=model.url).ready()
        http = await self.callers(gateway)
        calls = http.call(20)
        await pause(1)
        await model.tell(kind="http", slots=8)
        await calls
        self.assertEqual(http.statuses, {200: 20})
        await self.none_failed()
