"""The base of the fault tests: a broker to break, load that continues meanwhile, and a ledger that has to balance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from tests.faults.callers import HTTPCallers
from tests.faults.ledger import Ledger, Outcome, id_in
from tests.faults.load import AMQPInitiator
from tests.faults.resources import FragileRabbitMQ, all_queues, fault_broker, ready_counts, take_all
from tests.support.integration import IntegrationTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Gateway, Process

#: Seconds between looks at the broker's counts, while a test waits for its queues to be empty.
LOOK = 0.3
_CLOCK_TICKS = 100  # per second; Linux counts in /proc with this number on every architecture


def memory(process: Process) -> int:
    """The resident memory of a process, in bytes."""
    status = Path(f"/proc/{_pid(process)}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def cpu(process: Process) -> float:
    """The CPU time of a process so far, user and system, in seconds."""
    # The second field, the name, is in parentheses and may hold spaces. utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{_pid(process)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _pid(process: Process) -> int:
    assert process.transport is not None
    pid: int = process.transport.pid
    return pid


def echo_after(seconds: float) -> Callable[[bytes], Deferred[tuple[int, bytes]]]:
    """An answer of the model: the request's body, after some seconds, so that faults meet requests in every stage."""
    return lambda body: deferLater(reactor, seconds, lambda: (200, body))


class FaultTestCase(IntegrationTestCase):
    """Each test has a ledger, and its own names on a node that all fault tests share and may break.

    Attributes:
        node: may be killed, stopped, suspended and alarmed; it is restored afterwards.
        ledger: :meth:`initiator`, :meth:`callers` and :meth:`drained` record in it.
        work_queues: the queues that :meth:`drained` waits for; tests that serve more than ``self.queue`` add them.
        gateways: all that :meth:`start` has started.
    """

    timeout = 180
    node_of_the_suite = staticmethod(fault_broker)
    _log = Logger()

    async def setUp(self) -> None:
        self.node: FragileRabbitMQ = self.node_of_the_suite()
        await deferToThread(self.node.restore)
        await super().setUp()
        self.addCleanup(deferToThread, self.node.restore)
        self.work_queues = [self.queue]
        self.ledger = Ledger(lambda: reactor.callFromThread(self._look))
        self.gateways: list[Gateway] = []
        self._waiting: list[tuple[Callable[[], object], Deferred[None]]] = []
        self._calls_read = 0
        self._lines_read: Counter[Gateway] = Counter()

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        for queue in self.work_queues:
            for name in (queue, f"{queue}.retry", f"{queue}.parking"):
                channel.queue_delete(name)
            channel.exchange_delete(f"{queue}.return")

    def start(self, *arguments: str, **variables: Any) -> Gateway:
        """Start ``twistd -n provider-gateway``; the ledger counts the expired messages in its log."""
        gateway = super().start(*arguments, **variables)
        self.gateways.append(gateway)
        return gateway

    def initiator(self, **options: Any) -> AMQPInitiator:
        """An AMQP initiator that consumes replies from ``self.output``; options are those of AMQPInitiator."""
        key = f"{options['kind']}.now" if "kind" in options else "predict.now"
        made = AMQPInitiator(self.ledger, self.node.plain_url, self.exchange, key, self.output, **options)
        made.consume()
        self.addCleanup(made.close)
        return made

    async def callers(self, *gateways: Gateway, **options: Any) -> HTTPCallers:
        """HTTP callers of these gateways; options are those of HTTPCallers."""
        urls = [f"https://localhost:{await gateway.port('https')}" for gateway in gateways]
        made = HTTPCallers(self.ledger, self.client, *urls, **options)
        self.addCleanup(made.stop)
        return made

    async def until(self, what: str, met: Callable[[], object], seconds: float = 60) -> None:
        """Wait until a condition is met; it is checked after each record of the ledger."""
        if met():
            return
        waiting: Deferred[None] = Deferred()
        self._waiting.append((met, waiting))
        try:
            await waiting.addTimeout(seconds, reactor)
        except DeferredTimeoutError:
            self.fail(f"within {seconds:g} s there was not: {what}\n{self.ledger.summary()}")

    async def confirmed(self, more: int, seconds: float = 60) -> None:
        """Wait until this many more requests are confirmed."""
        wanted = self.ledger.count(Outcome.CONFIRMED) + more
        await self.until(f"{more} more confirmed", lambda: self.ledger.count(Outcome.CONFIRMED) >= wanted, seconds)

    def logged_again(self, gateway: Gateway, *texts: str, seconds: float = 60) -> Deferred[Any]:
        """A Deferred that fires when new log lines with each of these texts have come; fails after ``seconds``."""
        seen = len(gateway.log)

        def found() -> bool:
            messages = [line["message"] for line in gateway.log[seen:]]
            return all(any(text in message for message in messages) for text in texts)

        def too_late(_: object, seconds: float) -> None:
            last = "\n".join(gateway.lines[-10:])
            self.fail(f"within {seconds:g} s these were not all logged: {texts}\n{last}\n{self.ledger.summary()}")

        return gateway.when(found).addTimeout(seconds, reactor, onTimeoutCancel=too_late)

    def reconnected(self, gateway: Gateway) -> Deferred[Any]:
        """A Deferred that fires when both AMQP connections have been opened anew."""
        return self.logged_again(gateway, "AMQP connection publish is open", "AMQP connection consume is open")

    async def consumers(self, queue: str | None = None) -> int:
        """The number of consumers of a queue, by default the work queue."""
        name = queue or self.queue
        return int(await self.on_channel(lambda c: c.queue_declare(name, passive=True).method.consumer_count))

    async def drained(self, seconds: float = 40) -> None:
        """Wait until nothing is queued or in flight; then record replies, parked and expired messages in the ledger."""
        deadline = reactor.seconds() + seconds
        while True:
            busy = await self._busy()
            if not busy:
                break
            if reactor.seconds() > deadline:
                self.fail(f"not drained within {seconds:g} s: {busy}\n{self.ledger.summary()}")
            await deferLater(reactor, LOOK)
        await self._collect()
        self._log.info("{test}:\n{table}", test=self.id(), table=self.ledger.summary())

    async def _busy(self) -> dict[str, int]:
        """The queues that still have ready or unacknowledged messages, with their numbers."""
        awaited = [name for queue in self.work_queues for name in (queue, f"{queue}.retry")]
        waiting = await self.on_channel(lambda channel: ready_counts(channel, awaited))
        if any(waiting.values()):
            return {queue: count for queue, count in waiting.items() if count}
        # The unacknowledged ones are asked for last: rabbitmqctl takes a second.
        found = await deferToThread(all_queues, self.node)
        replies = [queue for queue in found if self._is_for_replies(queue) and found[queue]["consumers"]]
        counts = {queue: found[queue]["messages"] for queue in (*awaited, *replies) if queue in found}
        return {queue: count for queue, count in counts.items() if count}

    def _is_for_replies(self, queue: str) -> bool:
        """True for the output queue, and for the reply queues of gateways."""
        return queue == self.output or queue.startswith(f"{self.output}.")

    async def _collect(self) -> None:
        found = await deferToThread(all_queues, self.node)
        unread = [queue for queue in found if self._is_for_replies(queue) and not found[queue]["consumers"]]
        for queue in unread:  # no consumer: the queue of a gateway that died, or the output queue
            for properties, content in await self._take_all(queue):
                headers = properties.headers or {}
                request, belongs = self.ledger.read(headers, properties.correlation_id, content)
                self.ledger.replied(request, headers.get("pg-status", 200), belongs=belongs)
        for parking in found.keys() & {f"{queue}.parking" for queue in self.work_queues}:
            for properties, content in await self._take_all(parking):
                self.ledger.parked(self.ledger.read(properties.headers or {}, properties.correlation_id, content)[0])
        for gateway in self.gateways:
            log = gateway.log
            for line in log[self._lines_read[gateway] :]:
                if "expired" in line["message"]:
                    self.ledger.expired(str(line.get("rquid") or line.get("correlation_id")))
            self._lines_read[gateway] = len(log)
        for body, _ in self.model.requests[self._calls_read :]:
            called_for = id_in(body)
            if called_for is not None:  # a call without an id is no part of the load
                self.ledger.called(called_for)
        self._calls_read = len(self.model.requests)

    async def _take_all(self, queue: str) -> list[tuple[Any, bytes]]:
        taken: list[tuple[Any, bytes]] = await self.on_channel(lambda channel: take_all(channel, queue))
        return taken

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        for met, deferred in waiting:
            if not met():
                self._waiting.append((met, deferred))
            elif not deferred.called:
                deferred.callback(None)
