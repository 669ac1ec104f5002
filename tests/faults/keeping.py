"""The base of the fault tests of kept answers: gateways with a result store, callers who come back, and a ledger."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.threads import deferToThread

from devtools.postgresql import PostgreSQL, url
from tests.faults.kept_callers import KeptCallers
from tests.faults.kept_ledger import KeptLedger
from tests.faults.kept_model import KeptModel
from tests.faults.lean_client import LeanClient
from tests.faults.serving import ServingTestCase
from tests.support.certificates import certificates
from tests.support.integration import client_tls

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Gateway

#: Seconds between the attempts of a message, and for a call of the kind "slow".
RETRY_DELAY, SLOW = 0.3, 2.5


def preloaded(*environments: dict[str, str]) -> dict[str, str]:
    """The variables of several environments, with the libraries that each of them preloads."""
    libraries = [each["LD_PRELOAD"] for each in environments if "LD_PRELOAD" in each]
    merged: dict[str, str] = {}
    for each in environments:
        merged |= each
    return merged | ({"LD_PRELOAD": ":".join(libraries)} if libraries else {})


class Store(Protocol):
    """The database of a test."""

    url: str

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        ...


class SQLiteStore:
    """A file in the test's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve() / "results.db"
        self.url = f"sqlite:///{self.path}"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()


@cache
def postgresql() -> PostgreSQL:
    """The server that fault tests may break; it need not be running."""
    return PostgreSQL(certificates(), "max_connections = 30")


def running_postgresql() -> PostgreSQL:
    """The same server, which runs and is not suspended."""
    server = postgresql()
    server.resume()
    if not server.processes():
        server.start()
    return server


class PostgreSQLStore:
    """A database of a server.

    Args:
        ports: where the gateways find it, if that is not the server's port.
    """

    def __init__(self, server: PostgreSQL, *ports: int) -> None:
        self.server = server
        self.name = server.new_database()
        self.url = self.at(*ports) if ports else server.url(self.name)

    def at(self, *ports: int, **parameters: str) -> str:
        """The address of the database at other ports, without TLS."""
        return url(self.name, *ports, **{"sslmode": "disable", "gssencmode": "disable", **parameters})

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return [tuple(line.split("|")) for line in self.server.sql(sql, database=self.name).splitlines()]


class KeepingTestCase(ServingTestCase):
    """Gateways with a result store, on a model whose answers follow from the requests.

    Attributes:
        kept: the ledger.
        kept_model: counts the calls.
        lean: a client.
        ports: of the gateways that :meth:`callers_of` asks.
        store: set by :meth:`setUp` of subclasses.
    """

    timeout = 120
    store: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.keys |= {"dle": True, "maxAttempts": 2, "retryDelay": int(1000 * RETRY_DELAY)}
        self.kept, self.kept_model = KeptLedger(), KeptModel(slow=SLOW)
        self.model.answer = self.kept_model
        self.lean = LeanClient(client_tls())
        self.addCleanup(self.lean.close)
        self.ports: list[int] = []
        self.chance = random.Random(os.environ.get("RESULTS_SOAK_SEED", self.id()))

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        webhooks = [
            f"webhooks{end}" for end in ("", ".parking", *(f".retry.{t}" for t in ("5s", "30s", "5m", "30m", "2h")))
        ]
        for name in ("results", *webhooks):
            channel.queue_delete(f"{self.output}.{name}")
        for name in ("done", "canceled"):
            channel.exchange_delete(f"{self.output}.{name}")

    def serve(self, *arguments: str, **variables: str) -> Gateway:
        """Start a gateway with the store."""
        ours = {"RESULT_STORE": self.store.url, "REPLY_TIMEOUT": "1", "REPLY_QUEUE_EXPIRES": "60"}
        return super().serve(*arguments, **{**ours, **variables})

    async def serve_ready(self, *arguments: str, **variables: str) -> Gateway:
        """Start a gateway that callers use; returns when it is ready, and has its store."""
        gateway = await self.serve(*arguments, **variables).ready()
        await gateway.logged("The result store is there")
        port = await gateway.port("https")
        if port not in self.ports:
            self.ports.append(port)
        return gateway

    def kept_callers(self, **options: Any) -> KeptCallers:
        """Callers of all gateways in ``ports``."""
        return KeptCallers(self.kept, self.lean, self.ports, self.chance, **options)

    async def kept_balances(
        self, callers: KeptCallers, *, duplicates_at_most: int = 0, by_faults_at_most: int = 0
    ) -> None:
        """Fetch all answers, and check the ledger and the calls of the model."""
        await callers.fetch_all(40)
        surplus = self.kept.called(self.kept_model.calls)
        table = f"{self.kept.summary()}\n{dict(callers.statuses)}\ncalls beyond the first: {surplus}"
        self._log.info("{test}:\n{table}", test=self.id(), table=table)
        self.kept.check(self, by_faults_at_most=by_faults_at_most)
        self.assertLessEqual(surplus, duplicates_at_most, table)

    def rows(self, sql: str) -> Any:
        """What a query of the store finds, in a thread."""
        return deferToThread(self.store.rows, sql)
