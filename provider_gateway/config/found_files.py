"""Finds the files that a process starts with: the queue file, and the env file's variables beside the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from provider_gateway.config.queue_file import BUILT_IN, load_queues

if TYPE_CHECKING:
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings

_QUEUE_FILES = (Path("conf/queue_config.yaml"), Path("configs/queue_config.yaml"))


def find_queues(option: Path | None, settings: Settings) -> tuple[tuple[QueueEntry, ...], str]:
    """Find and read the queue file.

    Args:
        option: ``--queues`` of the command line.

    Returns:
        The entries, and where they come from: the file's path, or "built-in" if there is no file.

    Raises:
        SettingsError: the file is wrong, or was named and does not exist.
    """
    return read_queues(option or settings.queues_conf)


def read_queues(named: Path | None) -> tuple[tuple[QueueEntry, ...], str]:
    """Read a queue file as :func:`find_queues` does.

    Args:
        named: None means the file in the working directory, if there is one.
    """
    path = named or next((path for path in _QUEUE_FILES if path.exists()), None)
    if path is None:
        return BUILT_IN, "built-in"
    return load_queues(path), str(path)


def find_variables(env_file: Path | None = None) -> dict[str, str]:
    """The variables of the environment and of the env file, as :func:`.load_settings` finds it; the environment wins.

    Args:
        env_file: None means ``.env`` in the working directory, if there is one.
    """
    path = env_file or Path(".env")
    found = dotenv_values(path, encoding="utf-8") if path.is_file() else {}
    variables = {name: value for name, value in found.items() if value}
    return variables | {name: value for name, value in os.environ.items() if value}
