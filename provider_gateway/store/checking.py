"""Tries a result store once, for ``--check --connect``: address, login, schema, rights, and what would lose data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.store.connections import Connections

if TYPE_CHECKING:
    from provider_gateway.store.engine import Engine


async def try_store(reactor: Any, engine: Engine) -> list[str]:
    """Connect as the process does, which brings the schema to this version, and write without a change.

    Returns:
        What is wrong, one line each; nothing if the store can be used.
    """

    def prepare(connection: Any) -> None:
        engine.prepare(connection)
        engine.migrate(connection)

    def work(connection: Any) -> list[str]:
        with engine.writing(connection) as transaction:
            transaction.probe()
        return engine.problems(connection)

    connections = Connections(reactor, engine, 1, prepare)
    try:
        return await connections.run(work)
    except Exception as error:  # noqa: BLE001 - whatever an attempt raises, it has failed
        return [engine.explain(error)]
    finally:
        connections.close()
