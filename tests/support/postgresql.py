"""The PostgreSQL server and the PgBouncer that the tests of a run share, and addresses of databases as values."""

from __future__ import annotations

from functools import cache

from devtools.postgresql import PgBouncer, PostgreSQL
from tests.support.certificates import certificates


@cache
def shared_server() -> PostgreSQL:
    """The running server that most tests share; each test uses a database of its own."""
    server = PostgreSQL(certificates())
    server.start()
    return server


@cache
def shared_pooler() -> PgBouncer:
    """A running PgBouncer in front of the shared server, in transaction mode."""
    pooler = PgBouncer(shared_server())
    pooler.start()
    return pooler
