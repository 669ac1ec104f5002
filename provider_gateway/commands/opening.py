"""Opens the parking queues for a command: settings, queue file, broker TLS, audit log, and who it is that asks."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.config.appended_files import open_unbuffered
from provider_gateway.config.found_files import find_queues, find_variables, read_queues
from provider_gateway.config.settings import load_settings
from provider_gateway.observability.audit_log import AuditLog
from provider_gateway.parking.operators import Operator
from provider_gateway.parking.parking import Parking
from provider_gateway.parking.places import places_of
from provider_gateway.security.tls import broker_tls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import FileIO

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.settings import Settings


@dataclass(frozen=True)
class Files:
    """The files that the user names; None for those of the process."""

    env_file: Path | None
    queues: Path | None


class _StandardError:
    """Standard error as the audit log."""

    def write(self, data: bytes) -> int:
        if sys.stderr is None:
            raise OSError(errno.EBADF, "there is no place for the audit log")
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()
        return len(data)


class CountedAudit:
    """The audit log of a command, which counts its lines.

    Args:
        path: its file; None for standard error.
        wall_clock: has the time of the lines.
    """

    def __init__(self, out: Any, path: Path | None, wall_clock: WallClock) -> None:
        self._log = AuditLog(out, wall_clock)
        self.path = path
        self.lines = 0

    def __call__(self, line: Mapping[str, object]) -> None:
        """Write one line."""
        self._log.write(line)
        self.lines += 1


def open_audit(settings: Settings, wall_clock: WallClock) -> CountedAudit:
    """Open ``AUDIT_LOG``; without it a file in the user's own folder; where there can be none, standard error.

    Raises:
        SettingsError: ``AUDIT_LOG`` is set, and cannot be written.
    """
    given = open_unbuffered("AUDIT_LOG", settings.audit_log)
    if given is not None:
        # As /dev/stdout of a container: here that is the output of the command.
        if _is_output(given):
            return CountedAudit(_StandardError(), None, wall_clock)
        return CountedAudit(given, settings.audit_log, wall_clock)
    try:
        path = _state_folder() / "provider-gateway" / "audit.log"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return CountedAudit(path.open("ab", buffering=0), path, wall_clock)
    except (OSError, RuntimeError):  # a read-only file system; a user without a home
        return CountedAudit(_StandardError(), None, wall_clock)


def _is_output(file: FileIO) -> bool:
    """True if a file is standard output."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.fstat(1))
    except OSError:  # there is no standard output
        return False


def _state_folder() -> Path:
    """Where programs keep what a user did (XDG Base Directory specification: relative paths do not count)."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".local" / "state"


def open_parking(reactor: Any, files: Files, wall_clock: WallClock) -> tuple[Parking, CountedAudit]:
    """Make the parking queues of the process that these settings are of.

    Raises:
        SettingsError: a setting, the queue file or a certificate is wrong.
    """
    settings = load_settings(files.env_file)
    entries, _ = find_queues(files.queues, settings)
    audit = open_audit(settings, wall_clock)
    needs_tls = any(url.tls for url in settings.rmq_url)
    parking = Parking(
        reactor,
        settings,
        entries,
        tls=broker_tls(settings, _ignore_expiry).to if needs_tls else None,
        places=places_of(entries, webhooks=settings.result_store is not None and settings.http_access is not None),
        audit=audit,
        wall_clock=wall_clock,
    )
    return parking, audit


def _ignore_expiry(_side: str, _when: float) -> None:
    """Do nothing: expiry is a metric of the running process only."""


def this_user() -> Operator:
    """Who runs the command, as the machine knows it. In a container that is its user, whoever called."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers often have users without a name
        name = f"uid {os.getuid()}"
    return Operator(name, socket.gethostname())


def work_queue(known: Mapping[str, Any], given: str | None) -> str:
    """The work queue that is meant: by its name, by that of its parking queue, or as the only one.

    Args:
        known: the parking places by work queue.

    Raises:
        Ended: there is none of this name, or several are meant.
    """
    names = ", ".join(known)
    if given is None:
        if len(known) == 1:
            return next(iter(known))
        msg = f"--queue: which one? There are {names}"
        raise Ended(msg, Status.USAGE)
    if given in known:
        return given
    owners = [name for name, place in known.items() if place.parking.name == given]
    if len(owners) == 1:
        return owners[0]
    msg = f"--queue {given}: no queue of the queue file has this name; there are {names}"
    if owners:
        msg = f"--queue {given}: name the work queue: {', '.join(owners)} share this parking queue"
    raise Ended(msg, Status.USAGE)


def queue_names(files: Files) -> Sequence[str]:
    """The names of the work queues, for completion; without settings that only a connection needs."""
    given = files.queues or (Path(path) if (path := find_variables(files.env_file).get("QUEUES_CONF")) else None)
    entries, _ = read_queues(given)
    return [entry.queue_name for entry in entries]
