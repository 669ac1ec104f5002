"""Writes log events as JSON objects, one a line, to a text file."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TextIO

from twisted.application.internet import ClientService
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.components import Componentized
from zope.interface import implementer

_PLAIN = (str, int, float, bool, type(None))


def json_line(event: LogEvent) -> str:
    """One log event as one line.

    It has ``time`` (UTC, RFC 3339), ``level``, ``logger`` and ``message``; then the values of the event that are text,
    numbers, booleans or None; then the ``traceback`` of a failure. Other objects are left out, so none can leak a
    secret.
    """
    level = event.get("log_level", LogLevel.info)
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": level.name,
        "logger": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and isinstance(value, _PLAIN) and name not in line:
            line[name] = value
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


@implementer(ILogObserver)
class JSONLogObserver:
    """Writes each event as one JSON line.

    Args:
        out: text file; flushed after each line.
        more: values that are added to every line.
    """

    def __init__(self, out: TextIO, **more: int) -> None:
        self._out = out
        self._more = more

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        self._out.write(json_line({**event, **self._more}))
        self._out.flush()


def silence_pika() -> None:
    """Turn pika's own logging off: it repeats what we report, at alarming levels and with message bodies."""
    pika_logger = logging.getLogger("pika")
    pika_logger.addHandler(logging.NullHandler())
    pika_logger.setLevel(logging.CRITICAL + 1)


def log_observer(out: TextIO, level: str, **more: int) -> ILogObserver:
    """An observer for twistd that writes JSON lines at a level and above. Turns pika's own logging off.

    Args:
        level: ``info`` or ``debug``.
        more: values that are added to every line.
    """
    silence_pika()
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(level))
    # Twisted logs each connection attempt, port and factory at "info". We log the same once, with a reason.
    for namespace in ("twisted.internet", "twisted.web", "twisted.application.internet", "stdout", "log_legacy"):
        predicate.setLogLevelForNamespace(namespace, LogLevel.warn)
    predicate.setLogLevelForNamespace(ClientService.__module__, LogLevel.warn)
    # "twistd 26.10.0 starting up" and the class of the reactor: our first line has the versions.
    predicate.setLogLevelForNamespace("twisted.scripts", LogLevel.warn)
    return FilteringLogObserver(JSONLogObserver(out, **more), [predicate])


def use_observer(application: object, observer: ILogObserver | None) -> None:
    """Have twistd log through an observer; None leaves its own one."""
    if observer is not None and isinstance(application, Componentized):
        application.setComponent(ILogObserver, observer)
