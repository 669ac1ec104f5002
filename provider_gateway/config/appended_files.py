"""Files that lines are appended to as long as the process runs: access log and audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path
    from typing import TextIO


def open_text(variable: str, path: Path | None) -> TextIO | None:
    """Open a file to append text to it.

    Args:
        variable: the setting that names it, for errors.
        path: the file; None for no file.

    Raises:
        SettingsError: the file cannot be opened.
    """
    if path is None:
        return None
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        _refuse(variable, path, error)


def open_unbuffered(variable: str, path: Path | None) -> FileIO | None:
    """Open a file to append bytes to it: what is written is with the kernel at once, or an error says that it is not.

    Raises:
        SettingsError: the file cannot be opened.
    """
    if path is None:
        return None
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        _refuse(variable, path, error)


def _refuse(variable: str, path: Path, error: OSError) -> NoReturn:
    msg = f"{variable}: {path}: expected a file that can be appended to, got: {error.strerror}"
    raise SettingsError(msg) from None
