"""Finds the files that a process starts with: the queue file, and the env file's variables beside the environment."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from provider_gateway.config.queue_file import BUILT_IN, load_queues
from provider_gateway.config.settings import load_settings, names_of_settings
from provider_gateway.config.variable_names import check_names, misspelling, misspelt
from provider_gateway.config.yaml_file import MISSING
from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def load_named_settings(env_file: Path | None = None, **given: Any) -> Settings:
    """Read the settings as :func:`.load_settings` does; if one is missing, the error tells of misspelt names.

    The name that stands for the missing one comes first. Others follow what is missing: they would stop the next start.

    Raises:
        SettingsError: a variable is missing or wrong.
    """
    try:
        return load_settings(env_file, **given)
    except SettingsError as error:
        with contextlib.suppress(UnicodeDecodeError):
            wrong = misspelt(find_variables(env_file), _names())
            for name, meant in wrong.items():
                if str(error).startswith(f"{meant}: {MISSING}"):
                    raise misspelling({name: meant}) from None
            if wrong and MISSING in str(error):
                msg = f"{error}; {misspelling(wrong)}"
                raise SettingsError(msg) from None
        raise


def check_variables(variables: Mapping[str, str], entries: Sequence[QueueEntry]) -> list[str]:
    """Check that no variable is a misspelt setting.

    Args:
        variables: from :func:`find_variables`.
        entries: those of the queue file, which may use variables of any name.

    Returns:
        Warnings of variables that are unknown and may be meant for this program.

    Raises:
        SettingsError: there is a misspelt setting. The error names it and the setting that is probably meant.
    """
    models = [entry.model for entry in entries if entry.model is not None]
    used = {name.upper() for model in models for _, value in model.headers for name in value.variables}
    used |= {value.strip().upper() for name, value in variables.items() if name.upper() == "MODEL_HOST_ENV"}
    return check_names(variables, _names() | used)


def _names() -> set[str]:
    return {name for names in names_of_settings() for name in names}
