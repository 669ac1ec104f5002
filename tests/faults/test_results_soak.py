"""The soak of kept answers: load in all ways of sending, a random fault every few seconds, a ledger; for each store.

``make soak-results`` runs it with 100,000 requests, ``make test`` with fewer. Environment variables set its size.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from devtools.ports import free_ports
from tests.faults.disturbances import pause
from tests.faults.keeping import KeepingTestCase, PostgreSQLStore, SQLiteStore, preloaded, running_postgresql
from tests.faults.kept_model import KeptModel
from tests.faults.proxy import FaultProxy
from tests.faults.store_disturbances import PostgreSQLDisturbances, SQLiteDisturbances
from tests.faults.store_writes import StoreWrites
from tests.faults.webhook_receiver import NAME, WebhookReceiver
from tests.support.stepped_clock import SteppedClock

if TYPE_CHECKING:
    from tests.faults.kept_callers import KeptCallers
    from tests.faults.kept_ledger import Entry
    from tests.support.processes import Gateway

#: Requests whose callers are to be told an id.
MESSAGES = int(os.environ.get("RESULTS_SOAK_MESSAGES", "1500"))
#: "sqlite", "postgresql", or both.
STORES = os.environ.get("RESULTS_SOAK_STORE", "sqlite postgresql").split()
#: Seconds after which no more requests are sent, however many there were.
SECONDS = float(os.environ.get("RESULTS_SOAK_SECONDS", "15"))
#: Seconds from one fault to the next.
EVERY = float(os.environ.get("RESULTS_SOAK_EVERY", "2"))
#: Requests per second.
RATE = float(os.environ.get("RESULTS_SOAK_RATE", "350"))
#: Seed of requests and faults.
SEED = os.environ.get("RESULTS_SOAK_SEED", "provider-gateway")

GATEWAYS, PREFETCH = 2, 60
WEIGHTS = {"echo": 6, "bytes": 4, "slow": 0.05, "parked": 0.1, "flaky": 0.2}
#: Seconds that callers wait, longer than most faults last, and that slow calls take: their answers come after the 504.
REPLY_TIMEOUT, SLOW = 6, 7
#: Further faults that a short soak has.
FIRST = ("gateway killed", "broker killed and restarted")
#: Share of requests that end as errors, since the model is made to fail, too.
BY_FAULTS = 0.01
#: Answers that are waited for as soon as their ids are told, at a time.
LONG_POLLS = 20
#: Seconds until all answers are there, and until the webhooks are that were to be tried again.
FETCH, WEBHOOKS = 30 + MESSAGES / 500, 90
RESULT_TTL = 86_400
_DAYS = 7 * 86_400


class ResultsSoak(KeepingTestCase):
    """Two gateways with both roles and one store, under every fault of the disturbances."""

    timeout = SECONDS + 400

    async def setUp(self) -> None:
        await super().setUp()
        self.kept_model = self.model.answer = KeptModel(0.02, SLOW)
        self.keys |= {"prefetch": PREFETCH, "maxAttempts": 5, "retryDelay": 1000, "timeout": SLOW + 2}
        self.chance = random.Random(SEED)
        self.to_broker = await self.proxy(self.node.tls_port)
        self.to_model = await self.proxy(int(self.model_url.split(":")[2].split("/")[0]))
        self.wall = SteppedClock(self.folder)
        self.wall.step(_DAYS)
        self.receiver = WebhookReceiver(self, self.kept, self.folder)
        self.environment_: dict[str, str] = dict(self.wall.environment)
        self.slots: list[Gateway] = []
        self.gateways: list[Gateway] = []
        self.faults: Counter[str] = Counter()
        self.is_enough = False
        self.lost_twice: list[Entry] = []

    async def proxy(self, port: int) -> FaultProxy:
        """A running proxy in front of a port."""
        made = FaultProxy(reactor, port)
        made.start()
        self.addCleanup(made.stop)
        return made

    async def begin(self, port: int) -> Gateway:
        """Start a gateway on a port."""
        gateway = self.serve(
            HTTP_PORT=str(port),
            HTTP_ACCESS=self.receiver.access,
            RMQ_URL=f"amqps://localhost:{self.to_broker.port}/?heartbeat=5",
            MODEL_URL=f"http://127.0.0.1:{self.to_model.port}/predict",
            REPLY_TIMEOUT=str(REPLY_TIMEOUT),
            RESULT_TTL=str(RESULT_TTL),
            DRAIN_TIMEOUT="10",
            **self.environment_,
        )
        self.gateways.append(gateway)
        await gateway.logged("admin listener")
        return gateway

    async def end_gateway(self, signal: str, act: Any = None) -> None:
        """End one of the gateways, by a signal or by what ``act`` does, and start another on its port."""
        if act is not None:
            act()
            ending = gatherResults([each.when_ended() for each in self.slots])
            await self.look_until("one has ended", self.has_ended)
            number = next(number for number, each in enumerate(self.slots) if each.ended is not None)
            ending.addErrback(lambda _: None)
        else:
            number = self.chance.randrange(GATEWAYS)
            self.slots[number].signal(signal)
        status = await self.slots[number].when_ended()
        self.assertEqual(status, 0 if signal == "TERM" else -9, "\n".join(self.slots[number].lines[-20:]))
        self.slots[number] = await self.begin(self.ports[number])

    async def has_ended(self) -> bool:
        return any(each.ended is not None for each in self.slots)

    async def soak(self, disturbances: PostgreSQLDisturbances | SQLiteDisturbances) -> None:
        """Load, faults, and the ledger."""
        began = reactor.seconds()
        self.ports.extend(free_ports(GATEWAYS))
        for port in self.ports:
            self.slots.append(await self.begin(port))
        for each in self.slots:
            await each.ready()
        callers = self.kept_callers(weights=WEIGHTS, endpoint=NAME)
        running = [
            callers.call(RATE),
            *(Deferred.fromCoroutine(work) for work in (self.disturb(disturbances), self.poll(callers))),
        ]
        ends = reactor.seconds() + SECONDS
        while len(self.kept.told) < MESSAGES and reactor.seconds() < ends:
            await pause(0.5)
        self.is_enough = True
        callers.stop()
        await gatherResults(running, consumeErrors=True)
        loaded = reactor.seconds() - began
        try:
            await callers.fetch_all(FETCH)
            await self.expire(callers)
            with contextlib.suppress(self.failureException):  # the ledger says which are missing
                await self.look_until("webhooks", self.are_told, WEBHOOKS)
            await self.kept_balances(
                callers,
                duplicates_at_most=sum(self.faults.values()) * GATEWAYS * PREFETCH,
                by_faults_at_most=int(BY_FAULTS * len(self.kept.told)) + GATEWAYS * PREFETCH,
            )
        finally:
            faults = "\n".join(f"{name:<40} {count}" for name, count in sorted(self.faults.items()))
            statuses = "\n".join(f"{name:<40} {count}" for name, count in sorted(callers.statuses.items()))
            faults += f"\n\n{'unconfirmed, and their gateway died':<40} {len(self.lost_twice)}"
            took = f"{loaded:.0f} s of load, {reactor.seconds() - began - loaded:.0f} s until all was fetched"
            sys.stdout.write(f"\n\n{faults}\n\n{statuses}\n\n{self.kept.summary()}\n{took}\n")
            self.write_lines_of(self.kept.lost()[:10])

    def write_lines_of(self, lost: list[str]) -> None:
        """Write what the gateways have logged of requests that were lost."""
        for each in lost:
            request, id_ = each.split()[0], each.split("(")[1].split(")")[0]
            lines = [line for gateway in self.gateways for line in gateway.lines if request in line or id_ in line]
            sys.stdout.write("\n".join([f"\n{each}", *lines, ""]))

    async def expire(self, callers: KeptCallers) -> None:
        """Let the time pass after which a record expires whose gateway died before its publish was confirmed.

        The message is lost if the broker has died, too. It is far less time than the other records have.
        """
        self.lost_twice = self.kept.pending()
        if self.lost_twice:
            self.wall.step(RESULT_TTL / 4)
            await callers.fetch_all(FETCH)

    async def are_told(self) -> bool:
        return not self.kept.untold()

    async def poll(self, callers: Any) -> None:
        """Wait for some of the answers as soon as their ids are told, through another gateway maybe."""
        while not self.is_enough:
            recent = list(self.kept.told)[-LONG_POLLS:]
            await gatherResults([Deferred.fromCoroutine(callers.fetch(id_, 1, wait=1)) for id_ in recent])
            await pause(0.2)

    async def disturb(self, disturbances: PostgreSQLDisturbances | SQLiteDisturbances) -> None:
        """Cause one fault after another while the load runs; each once before any is repeated, own ones first."""
        waiting = [name for name in disturbances.all if name in disturbances.own or name in FIRST]
        self.chance.shuffle(waiting)
        await pause(1)
        while not self.is_enough:
            due = reactor.seconds() + EVERY
            if not waiting:
                waiting = list(disturbances.all)
                self.chance.shuffle(waiting)
            name = waiting.pop()
            self.faults[name] += 1
            await disturbances.all[name]()
            await pause(max(0.5, due - reactor.seconds()))

    def common(self) -> dict[str, Any]:
        """The arguments of both stores' disturbances."""
        return {
            "broker": self.node,
            "to_broker": self.to_broker,
            "to_model": self.to_model,
            "model": self.model,
            "end_gateway": self.end_gateway,
            "wall": self.wall,
        }


if "sqlite" in STORES:

    class SQLiteSoakTests(ResultsSoak):
        """With SQLite."""

        async def test_soak_sqlite(self) -> None:
            """Under all faults, each id that a caller was told ends, and its answer is right, byte for byte."""
            self.store, writes = SQLiteStore(self.folder), StoreWrites(self.folder)
            self.environment_ = preloaded(self.wall.environment, writes.environment)
            await self.soak(SQLiteDisturbances(self.chance, store=self.store, writes=writes, **self.common()))


if "postgresql" in STORES:

    class PostgreSQLSoakTests(ResultsSoak):
        """With PostgreSQL."""

        async def test_soak_postgresql(self) -> None:
            """Under all faults, each id that a caller was told ends, and its answer is right, byte for byte."""
            server = await deferToThread(running_postgresql)
            self.addCleanup(deferToThread, running_postgresql)
            self.store = await deferToThread(PostgreSQLStore, server)
            to_store = await self.proxy(server.port)
            self.store.url = self.store.at(to_store.port)
            await self.soak(PostgreSQLDisturbances(self.chance, store=self.store, to_store=to_store, **self.common()))
