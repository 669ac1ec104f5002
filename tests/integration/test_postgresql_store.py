"""The contract of result stores, kept by PostgreSQL: directly, and through a pooler in transaction mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import TestCase

from provider_gateway.config.store_url import parse_store_url
from provider_gateway.store.postgresql import PostgreSQL
from tests.support.postgresql import shared_pooler, shared_server
from tests.support.store_contract import ClosedContract, Contract
from tests.support.stores import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.store.records import ResultStore


class PostgreSQLTests(Contract, ClosedContract, TestCase):
    """A database of its own for each test, on a real server."""

    def setUp(self) -> None:
        self.address = shared_server().url(shared_server().new_database())

    async def stores(self, count: int) -> Sequence[ResultStore]:
        return [await opened(PostgreSQL(parse_store_url(self.address)), self) for _ in range(count)]


class PoolerTests(PostgreSQLTests):
    """The same through PgBouncer."""

    def setUp(self) -> None:
        self.address = shared_pooler().url(shared_server().new_database())
