"""Watches folders for changes of files in them, with inotify (Linux). Nothing is polled."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_log = Logger()
#: Links to follow at most: a link may lead to itself.
_MOST_LINKS = 40


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists and that we may read, resolved: no other can be watched."""
    while not (os.path.isdir(folder) and os.access(folder, os.R_OK)) and folder != folder.parent:
        folder = folder.parent
    return folder.resolve()


def folders_of(path: Path) -> set[Path]:
    """The folders in which a change may change a file's content: its own, and that of each link in its path.

    Kubernetes replaces all files of a volume by renaming one link, ``..data``, in the folder of the volume.
    """
    folders: set[Path] = set()
    path = path.absolute()
    for _ in range(_MOST_LINKS):
        folders.add(_nearest(path.parent))
        link = next((part for part in (path, *path.parents) if os.path.islink(part)), None)
        if link is None:
            break
        folders.add(_nearest(link.parent))
        try:
            target = link.readlink()
        except OSError:
            break  # the link has just gone; a notice of its folder follows
        path = link.parent / target / path.relative_to(link)
    return folders


class FolderWatch:
    """Watches the folders of some files.

    Args:
        reactor: reads the kernel's notices.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._notices: Any = None
        self._warned = False
        self._watched: set[Path] = set()

    def watch(self, files: Iterable[Path], on_change: Callable[[], object]) -> bool:
        """Watch the folders of some files, in place of those watched before.

        Args:
            on_change: called at each change of any file in one of the folders.

        Returns:
            False if this system has no inotify, or its limits are used up; a warning is then logged, once.
        """
        folders = set().union(*map(folders_of, files))
        if folders == self._watched:
            return True
        self.stop()
        try:
            # The import fails on systems without inotify.
            from twisted.internet import inotify  # noqa: PLC0415

            self._notices = inotify.INotify(self._reactor)
            self._notices.startReading()
            gone = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF
            # Not IN_MODIFY: a file has changed when its writer closes it, and a log file is modified all the time.
            changed = inotify.IN_CLOSE_WRITE | inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED
            changed |= inotify.IN_ATTRIB

            def notice(_ignored: object, _path: FilePath[Any], mask: int) -> None:
                if mask & gone:
                    self._watched = set()  # a new folder of that name must be watched anew
                on_change()

            for folder in folders:
                self._notices.watch(FilePath(str(folder)), mask=changed | gone, callbacks=[notice])
        except Exception as error:  # noqa: BLE001 - the error's class can be imported only on systems with inotify
            if not self._warned:
                self._warned = True
                _log.warn("Changes of certificates are not noticed ({reason}); send SIGHUP", reason=str(error))
            self.stop()
            return False
        self._watched = folders
        return True

    def stop(self) -> None:
        """Stop watching."""
        self._watched = set()
        notices, self._notices = self._notices, None
        if notices is not None:
            notices.loseConnection()
