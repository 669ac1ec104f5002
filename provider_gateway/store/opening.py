"""Makes the result store that the settings name, and finds the mistakes that end the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.settings import Settings
    from provider_gateway.config.store_url import StoreURL
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.store.engine import Engine
    from provider_gateway.store.sql_store import SQLStore


def engine_for(url: StoreURL, *, changes: bool) -> Engine:
    """The database for an address, checked as far as it can be before the process runs.

    Args:
        changes: False if nothing may be created or changed.

    Raises:
        SettingsError: this store can never work.
    """
    engine = _postgresql(url) if url.path is None else _sqlite(url.path)
    engine.check(changes=changes)
    return engine


def _sqlite(path: Path) -> Engine:
    # Imported late: a process without a result store need not hold SQLite in memory.
    from provider_gateway.store.sqlite import SQLite  # noqa: PLC0415 - see above

    return SQLite(path)


def _postgresql(url: StoreURL) -> Engine:
    try:
        # Imported late: its driver is an extra.
        from provider_gateway.store.postgresql import PostgreSQL  # noqa: PLC0415 - see above
    except ImportError as error:
        msg = f"RESULT_STORE: PostgreSQL needs psycopg ({error}): pip install provider-gateway[postgresql]"
        raise SettingsError(msg) from None
    return PostgreSQL(url)


def result_store(
    reactor: Any, settings: Settings, wall_clock: WallClock, metrics: Metrics, *, changes: bool = True
) -> SQLStore | None:
    """The result store of the settings, not yet open; None if there is none.

    Args:
        changes: False if nothing may be created or changed.

    Raises:
        SettingsError: this store can never work.
    """
    if settings.result_store is None:
        return None
    # Imported late, as SQLite is.
    from provider_gateway.store.sql_store import SQLStore  # noqa: PLC0415 - see above

    engine = engine_for(settings.result_store, changes=changes)
    return SQLStore(reactor, engine, ttl=settings.result_ttl, wall_clock=wall_clock, metrics=metrics)
