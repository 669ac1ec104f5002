"""Certificates, revocation list and access file are read again when they change, without dropping a connection."""

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

#: Seconds after the first sign of a change; several files that belong together are rarely replaced at once.
RELOAD_DELAY = 1.0


class Reloadable(Protocol):
    """What is loaded from files."""

    name: str
    files: list[Path]

    def load(self) -> None:
        """Read the files.

        Raises:
            SettingsError: they are wrong; nothing has changed.
        """


class Reloader:
    """Loads again what has changed.

    Args:
        loaded: what was loaded at start.
        clock: times how long changes may take.
        watch: notices changes.
        on_outcome: is told, of each thing that has changed, its name and "loaded" or "refused".
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
        """Notice changes from now on, and load what has changed since the files were first read."""
        self.reload()

    def _watch_files(self) -> None:
        self._watch.watch((path for each in self._loaded for path in each.files), self.reload_soon)

    def reload_soon(self) -> None:
        """Look for changes once those that are under way have had their time."""
        if self._due is None:
            self._due = self._clock.callLater(RELOAD_DELAY, self.reload)

    def reload(self) -> None:
        """Load what has changed; what is wrong is refused with one line in the log, and the old stays in force."""
        self._forget()
        self._watch_files()
        for index, each in enumerate(self._loaded):
            digest = _digest(each.files)
            if digest == self._digests[index]:
                continue
            self._digests[index] = digest
            try:
                each.load()
            except SettingsError as error:
                self._log.error("{name}: the old one stays in force: {error}", name=each.name, error=str(error))
                self._on_outcome(each.name, "refused")
            else:
                self._log.info("{name}: loaded again", name=each.name)
                self._on_outcome(each.name, "loaded")

    def stop(self) -> None:
        """Notice changes no more."""
        self._watch.stop()
        self._forget()

    def _forget(self) -> None:
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._due = None


def _digest(files: Sequence[Path]) -> bytes:
    """What tells the contents of some files from others; one that cannot be read is like an empty one."""
    digest = hashlib.sha256()
    for path in files:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(b"%d:%s" % (len(content), content))
    return digest.digest()
