"""Tries a result store for ``--check --connect``. Nothing is created or changed."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError
from provider_gateway.store.opening import engine_for

if TYPE_CHECKING:
    from provider_gateway.config.store_url import StoreURL


def try_store(url: StoreURL) -> tuple[str | None, list[str]]:
    """Connect to a store, and look at it. To be called in a thread.

    Returns:
        What is there, None if that is not known; and what is wrong, one line each.
    """
    if url.path is not None and not url.path.exists():
        return "the start will make the file", []
    try:
        engine = engine_for(url, changes=False)
        try:
            with closing(import_module(engine.module).connect(**engine.arguments)) as connection:
                return engine.describe(connection), engine.problems(connection)
        except SettingsError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps the store from working is the finding
            return None, [engine.explain(error)]
    except SettingsError as error:
        return None, [str(error).removeprefix("RESULT_STORE: ")]
