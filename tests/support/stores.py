"""Result stores on real databases, and records and outcomes to put into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from provider_gateway.observability.metrics import Metrics
from provider_gateway.store.records import Outcome, Record, Result, Status
from provider_gateway.store.sql_store import SQLStore

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase

    from provider_gateway.store.engine import Engine

TTL = 1000.0
NOW = 1_700_000_000.125
#: Text that databases do not like.
ODD = '\0 \ud800\udc80 \\x00 \\\\ {"\u00fc",NULL} %s ? \' \u6a21\u578b \U0001f600'


def record(id_: str, **values: Any) -> Record:
    """A pending record."""
    known: dict[str, Any] = {"owner": "me", "routing_key": "now", "rquid": "r", "created": NOW, "expires": NOW + TTL}
    return Record(id=id_, **{**known, **values})


def outcome(id_: str, status: Status = Status.SUCCEEDED, body: bytes = b"{}", **values: Any) -> Outcome:
    """How a request ended."""
    result = Result(status=200 if status is Status.SUCCEEDED else 502, body=body, content_type="application/json")
    return Outcome(id=id_, status=status, **{"finished": NOW + 1, "result": result, **values})


async def opened(engine: Engine, case: TestCase) -> SQLStore:
    """A store on an engine, that is there."""
    store = SQLStore(reactor, engine, ttl=TTL, wall_clock=lambda: NOW, metrics=Metrics())
    await until_up(store, case)
    return store


async def until_up(store: SQLStore, case: TestCase) -> None:
    """Open a store, and close it at the end of the test."""
    is_there: Deferred[None] = Deferred()
    store.on_change = lambda: is_there.callback(None) if store.is_up and not is_there.called else None
    store.open()
    case.addCleanup(store.close, 5)
    await is_there
