"""Watches folders for changes of files in them, by the kernel's word (inotify, Linux); nothing is polled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_log = Logger()
#: A link that leads to itself is not followed for ever.
_MOST_LINKS = 40


def _there(folder: Path) -> Path:
    """A folder, or the nearest one above it that exists, resolved."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder.resolve()


def folders_of(path: Path) -> set[Path]:
    """The folders in which a change may mean another content of a file: its own, and those of each link on its way.

    Kubernetes replaces the files of a volume by one rename of a link, ``..data``, in the folder of the volume.
    """
    folders: set[Path] = set()
    path = path.absolute()
    for _ in range(_MOST_LINKS):
        folders.add(_there(path.parent))
        link = next((part for part in (path, *path.parents) if part.is_symlink()), None)
        if link is None:
            break
        folders.add(_there(link.parent))
        path = link.parent / link.readlink() / path.relative_to(link)
    return folders


class FolderWatch:
    """Tells of changes in the folders of some files.

    Args:
        reactor: reads the kernel's notices.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._notices: Any = None
        self._warned = False
        self._watched: set[Path] = set()

    def watch(self, files: Iterable[Path], on_change: Callable[[], object]) -> bool:
        """Watch the folders of some files, in place of those that were watched before.

        Args:
            on_change: is called at each change in one of the folders, of whatever file.

        Returns:
            False if this system has no inotify, or its limits are used up.
        """
        folders = set().union(*map(folders_of, files))
        if folders == self._watched:
            return True
        self.stop()
        try:
            # Fails where there is no inotify.
            from twisted.internet import inotify  # noqa: PLC0415

            self._notices = inotify.INotify(self._reactor)
            self._notices.startReading()
            gone = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF
            # Not IN_MODIFY: a file that is being written has not changed yet, and a log would never rest.
            changed = inotify.IN_CLOSE_WRITE | inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED
            changed |= inotify.IN_ATTRIB

            def notice(_ignored: object, _path: FilePath[Any], mask: int) -> None:
                if mask & gone:
                    self._watched = set()  # another folder of that name has to be watched anew
                on_change()

            for folder in folders:
                self._notices.watch(FilePath(str(folder)), mask=changed | gone, callbacks=[notice])
        except Exception as error:  # noqa: BLE001 - Twisted's own error can only be imported where there is inotify
            if not self._warned:
                self._warned = True
                _log.warn("Changes of certificates are not noticed ({reason}); send SIGHUP", reason=str(error))
            self.stop()
            return False
        self._watched = folders
        return True

    def stop(self) -> None:
        """Watch no more."""
        self._watched = set()
        notices, self._notices = self._notices, None
        if notices is not None:
            notices.loseConnection()
