"""Processes and brokers end while messages are held for a busy or absent model; the numbers are rows of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.faults.ledger import Outcome
from tests.faults.models import AbsentModelTestCase
from tests.faults.serving import PREFETCH

if TYPE_CHECKING:
    from tests.faults.models import ModelProcess
    from tests.support.processes import Gateway

#: Messages that wait in each queue, and the most that may be ready in a queue that is full.
MANY, FULL = 60, 40
#: Seconds in which a process that only holds messages ends.
SOON = 5
KINDS: dict[str, dict[str, Any]] = {"classic": {}, "quorum": {"queueType": "quorum"}}


class HeldTests(AbsentModelTestCase):
    """A busy model asks for a long pause, so that messages are held."""

    async def held(self, seconds: int = 60) -> tuple[ModelProcess, Gateway]:
        """A model that refuses all for some seconds, and a provider that holds messages for it."""
        model = await self.begin_model(slots=0, status=503, retry_after=str(seconds))
        provider = await self.serve_kinds(model, KINDS)
        self.initiator()
        for kind in KINDS:
            await self.backlog(kind, MANY)

        async def holds_some() -> bool:
            held = await self.metric(provider, "deliveries_in_flight")
            ready = [await self.waiting(f"{self.queue}.{kind}") for kind in KINDS]
            # Nothing is on its way: else it would be rejected at the end, and come back.
            return max(ready) < MANY and held + sum(ready) == len(KINDS) * MANY

        await self.look_until("messages are held", holds_some)
        return model, provider

    async def take_calls(self, model: ModelProcess) -> None:
        """Let the model take calls."""
        for kind in KINDS:
            await model.tell(kind=kind, slots=8, retry_after="")

    async def served_by_another(self, model: ModelProcess) -> Gateway:
        """Start another provider, whose calls the model takes; returns it when all is answered."""
        await self.take_calls(model)
        provider = await self.serve_kinds(model, KINDS)
        await self.answered(len(KINDS) * MANY)
        return provider

    async def test_34_terminated(self) -> None:
        """SIGTERM: what is held goes back to its queue at once, and does not count as come back."""
        model, provider = await self.held()
        await self.ends_soon(provider)
        for kind in KINDS:
            queue = f"{self.queue}.{kind}"
            await self.look_until("all are back", lambda queue=queue: self.has_waiting(queue, MANY), SOON)
        provider = await self.served_by_another(model)
        counts = {
            kind: await self.metric(provider, f'redelivered_total{{queue="{self.queue}.{kind}",state="unknown"}}')
            for kind in KINDS
        }
        self.assertEqual(counts["classic"], 0)
        # A quorum queue counts what was on its way to the consumer when a pause began. Only suspects came three times.
        self.assertLess(counts["quorum"], PREFETCH)
        await self.none_failed()

    async def test_34_killed(self) -> None:
        """SIGKILL: what was held comes back to another process, and is answered there."""
        model, provider = await self.held()
        provider.signal("KILL")
        await provider.when_ended()
        provider = await self.served_by_another(model)
        self.assertGreater(await self.metric(provider, "redelivered_total"), 0)
        await self.none_failed()

    async def test_34_full_queue(self) -> None:
        """The work queue is full while messages are held: SIGTERM, an absent model and a restart end all the same."""
        keys = {"full": {"argQueue": {"x-max-length": FULL, "x-overflow": "reject-publish"}}}
        model = await self.begin_model(slots=0, status=503, retry_after="60")
        provider = await self.serve_kinds(model, keys)
        amqp = self.initiator(rate=200, kind="full")
        await self.backlog("full", PREFETCH)
        queue = f"{self.queue}.full"
        await self.look_until("messages are held", lambda: self.has_none_waiting(queue))
        await amqp.publish(FULL + 1)
        self.assertEqual((self.ledger.count(Outcome.REFUSED), await self.waiting(queue)), (1, FULL))
        await self.ends_soon(provider)
        await model.tell(up=False)
        provider = await self.serve_kinds(model, keys)
        await self.look_until("calls are tried", lambda: self.metric(provider, "model_requests_total"))
        self.assertEqual((await self.ready(provider))[0], 200)
        await model.tell(up=True, slots=8, retry_after="")
        await self.answered(PREFETCH + FULL)
        await self.none_failed()

    async def has_none_waiting(self, queue: str) -> bool:
        """True if no message is ready in a queue."""
        return not await self.waiting(queue)

    async def ends_soon(self, provider: Gateway) -> None:
        """Stop a provider in order: it need not use up its time for that."""
        started = reactor.seconds()
        provider.signal("TERM")
        self.assertEqual(await provider.when_ended(), 0, provider.errors)
        self.assertLess(reactor.seconds() - started, SOON)

    async def test_34_connections_closed(self) -> None:
        """The broker closes all connections, again and again: what is held is no suspect, and is called for once."""
        model, provider = await self.held()
        for _ in range(4):
            reconnected = self.reconnected(provider)
            await deferToThread(self.node.control, "close_all_connections", "fault test")
            await reconnected
        await self.ends_soon(provider)
        provider = await self.served_by_another(model)
        # Another process cannot know why a message comes back. It counts that once for each; suspects came three times.
        self.assertLessEqual(await self.metric(provider, "redelivered_total"), len(KINDS) * PREFETCH)
        await self.none_failed()

    async def test_34_broker_killed(self) -> None:
        """The broker is killed while messages are held for a busy model: all is answered later."""
        model, provider = await self.held(2)
        await self.break_broker(provider)
        await self.take_calls(model)
        await self.all_answered()

    async def test_34_broker_killed_while_away(self) -> None:
        """The broker is killed while the model is away: the provider asks for it all the same, and all is answered."""
        model = await self.begin_model(up=False)
        provider = await self.serve_kinds(model, KINDS)
        self.initiator()
        for kind in KINDS:
            await self.backlog(kind, MANY)
        for kind in KINDS:
            await self.all_wait(kind)
        await self.break_broker(provider)
        for kind in KINDS:
            await self.all_wait(kind)
        await model.tell(up=True)
        await self.all_answered()

    async def all_wait(self, kind: str) -> None:
        """Wait until the messages of a kind are in their queue, but for the one that may ask for the model."""
        queue = f"{self.queue}.{kind}"
        await self.look_until("all are back", lambda: self.has_waiting(queue, MANY - 1))

    async def all_answered(self) -> None:
        """Wait for the answers, and check the ledger; the broker has been killed once."""
        await self.answered(len(KINDS) * MANY)
        await self.drained()
        self.ledger.check(self, duplicates_at_most=len(KINDS) * PREFETCH)
        self.assertEqual(set(self.ledger.statuses), {200})

    async def break_broker(self, provider: Gateway) -> None:
        """Kill the broker and start it again; returns when the provider is connected."""
        reconnected = self.reconnected(provider)
        await deferToThread(self.node.kill)
        await deferToThread(self.node.start)
        await reconnected
