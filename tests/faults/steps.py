"""Kills of a gateway between two steps of a kept request: a frame to or from the broker, or a commit of the store.

A frame at which the gateway is killed does not arrive. A commit is met on its way: SQLite's by a preloaded library,
PostgreSQL's by a proxy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.faults.keeping import (
    KeepingTestCase,
    PostgreSQLStore,
    SQLiteStore,
    postgresql,
    preloaded,
    running_postgresql,
)
from tests.faults.proxy import Action, Direction, FaultProxy
from tests.faults.statements import Statement
from tests.faults.store_writes import Fault, StoreWrites
from tests.support.stepped_clock import SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.proxy import Frame
    from tests.support.processes import Gateway

_DAY = 86_400
TO_BROKER, FROM_BROKER = Direction.TO_TARGET, Direction.TO_CLIENT


class Trap(Protocol):
    """Meets the next commit that writes.

    Attributes:
        environment: variables of the gateway.
        url: of the store for it.
    """

    environment: dict[str, str]
    url: str

    def set(self, *, committed: bool) -> None:
        """Kill the gateway before or after the commit."""
        ...

    def clear(self) -> None:
        """Let all commits pass."""
        ...


class SQLiteTrap:
    """SQLite's commits."""

    def __init__(self, store: SQLiteStore, folder: Path) -> None:
        self._writes = StoreWrites(folder)
        self.environment, self.url = self._writes.environment, store.url

    def set(self, *, committed: bool) -> None:
        """Kill the gateway before or after the commit."""
        self._writes.set(Fault.KILL_AFTER_SYNC if committed else Fault.KILL_BEFORE_WRITE)

    def clear(self) -> None:
        """Let all commits pass."""
        self._writes.set(Fault.NONE)


class PostgreSQLTrap:
    """PostgreSQL's commits, at a proxy. Transactions that only read do not count."""

    def __init__(self, store: PostgreSQLStore, proxy: FaultProxy, kill: Callable[[], None]) -> None:
        self.url, self.environment = store.at(proxy.port), dict[str, str]()
        self._kill = kill
        self._committed: bool | None = None
        self._writing: set[int] = set()
        proxy.on_frame = self._judge

    def set(self, *, committed: bool) -> None:
        """Kill the gateway before or after the commit."""
        self._committed = committed

    def clear(self) -> None:
        """Let all commits pass."""
        self._committed = None

    def _judge(self, statement: Statement) -> Action:
        is_from_client = statement.direction is Direction.TO_TARGET
        if is_from_client and statement.text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "WITH")):
            self._writing.add(statement.connection)
        if not statement.is_commit or statement.connection not in self._writing:
            return Action.PASS
        if self._committed is is_from_client or self._committed is None:
            if not is_from_client:
                self._writing.discard(statement.connection)
            return Action.PASS
        self._committed = None
        self._kill()
        return Action.DROP


class StepTestCase(KeepingTestCase, ABC):
    """A gateway that is killed, and the one in its place; the model is called by a provider that lives on.

    Attributes:
        trap: for commits.
        wall: the gateways' wall clock, a day ahead.
        ended: ids of the requests of earlier steps.
        gateway: the one that is killed next.
    """

    trap: Any
    gateway: Gateway

    async def setUp(self) -> None:
        await super().setUp()
        self.to_broker = FaultProxy(reactor, self.node.port)
        self.to_broker.on_frame = self.judge
        self.to_broker.start()
        self.addCleanup(self.to_broker.stop)
        self.killing: Callable[[Frame], Action] | None = None
        self.ended: set[str] = set()
        self.wall = SteppedClock(self.folder)
        self.wall.step(_DAY)
        await self.set_trap()
        # Without the store: it would not read SQLite's log anew after a kill.
        self.provider = self.serve("--role", "provider", RESULT_STORE="")
        await self.provider.ready()
        await self.begin()

    @abstractmethod
    async def set_trap(self) -> None:
        """Make the store and the trap."""

    async def begin(self, **variables: str) -> None:
        """Start a gateway in place of the last one."""
        self.gateway = await self.serve_ready(
            "--role",
            "gateway",
            RMQ_URL=self.node.plain_url.replace(f":{self.node.port}/", f":{self.to_broker.port}/"),
            **{"RESULT_STORE": self.trap.url, **preloaded(self.wall.environment, self.trap.environment), **variables},
        )
        del self.ports[:-1]

    async def killed(self) -> None:
        """Wait until the gateway has been killed; another one starts."""
        self.assertEqual(await self.gateway.when_ended().addTimeout(15, reactor), -9)
        self.killing = None
        self.trap.clear()
        await self.begin()

    def judge(self, frame: Frame) -> Action:
        return self.killing(frame) if self.killing else Action.PASS

    def kill(self) -> None:
        self.gateway.signal("KILL")

    def kill_at(self, direction: Direction, name: str, text: str = "") -> None:
        """Kill the gateway at a frame of this name that contains a text; the frame does not arrive."""

        def judge(frame: Frame) -> Action:
            if not is_it(frame, direction, name, text):
                return Action.PASS
            self.kill()
            return Action.DROP

        self.killing = judge

    def kill_at_commit(self, direction: Direction, name: str, text: str = "", *, committed: bool) -> None:
        """Kill the gateway at the first commit after a frame."""

        def judge(frame: Frame) -> Action:
            if is_it(frame, direction, name, text):
                self.killing = None
                self.trap.set(committed=committed)
            return Action.PASS

        self.killing = judge


def is_it(frame: Frame, direction: Direction, name: str, text: str) -> bool:
    """True for a frame of this direction and name with a text in it."""
    return frame.direction is direction and frame.name == name and text.encode() in frame.raw


class OnSQLite(StepTestCase):
    """With SQLite."""

    async def set_trap(self) -> None:
        self.store = SQLiteStore(self.folder)
        self.trap = SQLiteTrap(self.store, self.folder)


class OnPostgreSQL(StepTestCase):
    """With PostgreSQL."""

    async def set_trap(self) -> None:
        self.store = await deferToThread(lambda: PostgreSQLStore(running_postgresql()))
        proxy = FaultProxy(reactor, postgresql().port)
        proxy.take = Statement.take
        proxy.start()
        self.addCleanup(proxy.stop)
        self.trap = PostgreSQLTrap(self.store, proxy, self.kill)
