"""Loads certificates, revocation lists and access file again when they change. No connection is dropped."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.security.folder_watch import FolderWatch

#: Seconds from the first notice of a change to the reload: files that belong together are replaced one by one.
RELOAD_DELAY = 1.0


class Reloadable(Protocol):
    """Something that is loaded from files.

    Attributes:
        name: names it in logs and metrics.
        files: the files that :meth:`load` reads. It may set another list, also when it fails.
    """

    name: str
    files: list[Path]

    def load(self) -> None:
        """Read the files.

        Raises:
            SettingsError: a file is missing, unreadable or wrong. What was loaded before stays in force.
        """


class Reloader:
    """Loads again what has changed.

    Args:
        loaded: what was loaded at the start.
        clock: times the delay of a reload.
        watch: notices changes.
        on_outcome: called after each reload with the name of what was loaded, and "loaded" or "refused".
    """

    _log = Logger()

    def __init__(
        self,
        loaded: Sequence[Reloadable],
        *,
        clock: IReactorTime,
        watch: FolderWatch,
        on_outcome: Callable[[str, str], object],
    ) -> None:
        self._loaded = list(loaded)
        self._clock = clock
        self._watch = watch
        self._on_outcome = on_outcome
        self._digests = [_digest(each.files) for each in self._loaded]
        self._due: IDelayedCall | None = None

    def start(self) -> None:
        """Watch the files from now on, and load what has changed since they were first read."""
        self.reload()

    def _watch_files(self) -> None:
        self._watch.watch((path for each in self._loaded for path in each.files), self.reload_soon)

    def reload_soon(self) -> None:
        """Reload after the delay, in which further changes may follow."""
        if self._due is None:
            self._due = self._clock.callLater(RELOAD_DELAY, self.reload)

    def reload(self) -> None:
        """Load what has changed. If a file is wrong, an error is logged and what was loaded before stays in force."""
        self._cancel()
        self._watch_files()
        for index, each in enumerate(self._loaded):
            digest = _digest(each.files)
            if digest != self._digests[index]:
                self._digests[index] = digest
                self._load(index, each)

    def _load(self, index: int, part: Reloadable) -> None:
        files = part.files
        error = _error_of(part)
        while part.files != files:
            # It names other files now. They may have changed before they were watched: read them once more.
            files = part.files
            self._watch_files()
            self._digests[index] = _digest(files)
            error = _error_of(part)
        if error is not None:
            self._log.error("{name}: the old one stays in force: {error}", name=part.name, error=str(error))
            self._on_outcome(part.name, "refused")
        else:
            self._log.info("{name}: loaded again", name=part.name)
            self._on_outcome(part.name, "loaded")

    def stop(self) -> None:
        """Stop watching, and cancel a reload that is due."""
        self._watch.stop()
        self._cancel()

    def _cancel(self) -> None:
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._due = None


def _error_of(part: Reloadable) -> SettingsError | None:
    """Load a part; returns what was wrong."""
    try:
        part.load()
    except SettingsError as error:
        return error
    return None


def _digest(files: Sequence[Path]) -> bytes:
    """A digest of the contents of some files. A file that cannot be read counts as empty."""
    digest = hashlib.sha256()
    for path in files:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(b"%d:%s" % (len(content), content))
    return digest.digest()
