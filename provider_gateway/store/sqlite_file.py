"""Checks of the file that SQLite uses: its folder, its rights, and the file system that it is on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOUNTS = Path("/proc/self/mountinfo")
#: Types of file systems on which several machines may write, or whose locks and syncs SQLite cannot rely on.
_NETWORK = frozenset(
    [
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre", "gpfs"),
        *("ocfs2", "gfs2", "beegfs", "orangefs", "pvfs2", "coda", "fuse"),
    ]
)
#: The root file system of containers without root.
_LOCAL = "fuse.fuse-overlayfs"


def file_system(path: Path, mounts: Iterable[str]) -> str:
    """The type of the file system that a path is on.

    Args:
        mounts: lines of ``/proc/self/mountinfo`` (proc(5)).

    Returns:
        The type, such as ``ext4``; an empty text if that is not known.
    """
    found, longest = "", -1
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(fields[4].encode("latin-1", "backslashreplace").decode("unicode_escape"))
        # The last of equal mount points covers those before.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = after.split()[0], len(point.parts)
    return found


def prepare_file(path: Path, *, create: bool = True) -> None:
    """Check that SQLite can work with a file, and create it for its owner alone if it is not there.

    Args:
        create: False if a file that is not there is to stay so.

    Raises:
        SettingsError: it cannot.
    """
    folder = path.parent
    if not folder.is_dir():
        msg = f"RESULT_STORE: {path}: there is no folder {folder}: make it, or mount a volume there"
        raise SettingsError(msg)
    kind = _type_of(folder)
    if kind in _NETWORK or (kind.startswith("fuse.") and kind != _LOCAL):
        msg = f"RESULT_STORE: {path}: SQLite loses data on a network file system ({kind}): take a local disk or postgresql://"
        raise SettingsError(msg)
    try:
        os.close(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if create or not isinstance(error, FileNotFoundError):
            msg = f"RESULT_STORE: {path}: expected a file that can be written: {error.strerror}"
            raise SettingsError(msg) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"RESULT_STORE: {path}: expected a folder that can be written: SQLite keeps its log beside the file"
        raise SettingsError(msg)


def _type_of(folder: Path) -> str:
    try:
        with _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as mounts:
            return file_system(folder.resolve(), mounts)
    except OSError:
        return ""
