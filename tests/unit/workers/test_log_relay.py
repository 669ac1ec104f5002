"""The workers' log lines in the supervisor's log."""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.workers.log_relay import copy_to, log_again


class LogRelayTests(SynchronousTestCase):
    """A worker's lines, copied or logged."""

    def test_copy(self) -> None:
        """A copied line is flushed as it is, with its end."""
        read, write = os.pipe()
        with os.fdopen(write, "w") as out, os.fdopen(read) as written:
            copy_to(out)('{"message": "x"}')
            self.assertEqual(written.readline(), '{"message": "x"}\n')

    def test_log_again(self) -> None:
        """A JSON line becomes an event of its level; any other line is logged as it is."""
        logged: list[Any] = []
        self.patch(log_again.__globals__["_log"], "observer", logged.append)
        log_again('{"level": "warn", "message": "m {x}", "worker": 1, "traceback": "a\\nb"}')
        for text in ("plain {text}", "3", '{"level": "loud", "message": "m", "worker": 1}'):
            log_again(text)
        found = [(each["log_level"], each["text"]) for each in logged]
        self.assertEqual(found[0], (LogLevel.warn, "worker 1: m {x}\na\nb"))
        self.assertEqual([level for level, _ in found[1:]], [LogLevel.info] * 3)
        self.assertEqual(found[1][1], "plain {text}")
