"""The contract of result stores, kept by SQLite, and by the store in memory so that it does not drift."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import TestCase

from provider_gateway.store.sqlite import SQLite
from tests.support.memory_store import MemoryStore
from tests.support.store_contract import ClosedContract, Contract
from tests.support.stores import TTL, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.store.records import ResultStore


class MemoryTests(Contract, TestCase):
    """The store in memory, which stands for several."""

    async def stores(self, count: int) -> Sequence[ResultStore]:
        return [MemoryStore(TTL)] * count


class SQLiteTests(Contract, ClosedContract, TestCase):
    """SQLite, with real files and threads."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    async def stores(self, count: int) -> Sequence[ResultStore]:
        engines = [SQLite(self.path) for _ in range(count)]
        engines[0].check(changes=True)
        return [await opened(engine, self) for engine in engines]
