"""Log lines: one JSON object each, without objects that could hold a secret."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from pydantic import SecretStr
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.json_log import JSONLogObserver, json_line, log_observer


class LineTests(SynchronousTestCase):
    """One event as one line."""

    def line(self, **event: Any) -> dict[str, Any]:
        """The decoded line of an event."""
        text = json_line({"log_time": 1_700_000_000.25, "log_level": LogLevel.info, "log_format": "x", **event})
        self.assertTrue(text.endswith("}\n"), repr(text))
        self.assertEqual(1, text.count("\n"), repr(text))
        decoded: dict[str, Any] = json.loads(text)
        return decoded

    def test_keys(self) -> None:
        """A line has time (UTC), level, logger and message, then the event's own values."""
        line = self.line(
            log_level=LogLevel.warn, log_namespace="provider_gateway.x", log_format="{queue} is full", queue="fib", n=3
        )
        time = datetime.fromisoformat(line.pop("time"))
        self.assertEqual((1_700_000_000.25, timedelta(0)), (time.timestamp(), time.utcoffset()))
        self.assertEqual(
            {"level": "warn", "logger": "provider_gateway.x", "message": "fib is full", "queue": "fib", "n": 3}, line
        )

    def test_event_of_others(self) -> None:
        """An event without level and namespace is written as ``info`` of ``-``."""
        line = json.loads(json_line({"log_time": 0.0, "log_format": "hello"}))
        self.assertEqual(("info", "-", "hello"), (line["level"], line["logger"], line["message"]))

    def test_stays_one_line(self) -> None:
        """Line ends, quotes and control characters in values are kept; the event is still one line."""
        text = 'a\nb\r\n"c" \\ größe \x00\x1b'
        line = self.line(log_format="{text}", text=text)
        self.assertEqual((text, text), (line["message"], line["text"]))

    def test_objects_never_appear(self) -> None:
        """Objects and collections are left out, so that none can show what it holds."""
        secret = SecretStr("hunter2")
        line = self.line(secret=secret, both=(secret,), map={"password": "hunter2"}, raw=b"hunter2", other=object())
        self.assertEqual({"time", "level", "logger", "message"}, set(line))
        self.assertNotIn("hunter2", json_line({"log_time": 0.0, "log_format": "login {secret}", "secret": secret}))

    def test_plain_values_appear(self) -> None:
        """Texts, numbers, booleans and None are in the line."""
        values = {"text": "a", "whole": 1, "real": 0.5, "truth": True, "nothing": None}
        self.assertLessEqual(values.items(), self.line(**values).items())

    def test_own_values_cannot_overwrite(self) -> None:
        """An event's own time, level, logger or message does not replace the line's."""
        line = self.line(log_format="right", time="x", level="x", logger="x", message="x")
        self.assertNotIn("x", line.values())
        self.assertEqual("right", line["message"])

    def test_failure_has_its_traceback(self) -> None:
        """A failure's traceback is in the line, with its error; an own value of that name gives way."""
        try:
            raise ZeroDivisionError("by zero")
        except ZeroDivisionError:
            failure = Failure()
        line = self.line(log_failure=failure, traceback="x", log_level=LogLevel.critical)
        self.assertEqual("critical", line["level"])
        self.assertIn("ZeroDivisionError: by zero", line["traceback"])
        self.assertIn("test_failure_has_its_traceback", line["traceback"])

    def test_format_that_does_not_fit(self) -> None:
        """An event whose text cannot be formatted is still a line."""
        self.assertIn("missing", self.line(log_format="{missing}")["message"])


class ObserverTests(SynchronousTestCase):
    """What the observer writes, and what it filters out."""

    def setUp(self) -> None:
        pika_logger = logging.getLogger("pika")
        self.addCleanup(setattr, pika_logger, "handlers", list(pika_logger.handlers))
        self.addCleanup(pika_logger.setLevel, pika_logger.level)
        self.out = StringIO()

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.out.getvalue().splitlines()]

    def test_writes_and_flushes_each_event(self) -> None:
        """Each line is flushed before the next one is written."""
        flushed: list[str] = []
        self.patch(self.out, "flush", lambda: flushed.append(self.out.getvalue()))
        observer = JSONLogObserver(self.out)
        observer({"log_time": 0.0, "log_format": "one"})
        observer({"log_time": 0.0, "log_format": "two"})
        self.assertEqual([1, 2], [text.count("\n") for text in flushed])

    def test_level(self) -> None:
        """At ``info`` there is no debug; at ``debug`` there is."""
        for level, expected in (("info", ["i", "w", "e"]), ("debug", ["d", "i", "w", "e"])):
            self.out = StringIO()
            log = Logger("provider_gateway.x", observer=log_observer(self.out, level))
            log.debug("d")
            log.info("i")
            log.warn("w")  # noqa: G010 - the name that Twisted's logger has
            log.error("e")
            self.assertEqual(expected, self.messages(), level)

    def test_twisted_is_quieter(self) -> None:
        """Twisted's messages about ports and factories appear at ``warn`` and above only, at any level of ours."""
        for namespace in ("twisted.internet.tcp", "twisted.web.http", "twisted.application.internet", "stdout"):
            self.out = StringIO()
            log = Logger(namespace, observer=log_observer(self.out, "debug"))
            log.info("starting")
            log.warn("trouble")  # noqa: G010 - likewise
            self.assertEqual(["trouble"], self.messages(), namespace)

    def test_reconnecting_is_quiet(self) -> None:
        """Messages of ClientService about each attempt to connect do not appear: we log one, with a reason."""
        events: list[LogEvent] = []
        for observer in (log_observer(self.out, "debug"), events.append):
            globalLogPublisher.addObserver(observer)
            self.addCleanup(globalLogPublisher.removeObserver, observer)

        class Refusing:
            def connect(self, _: object) -> Deferred[None]:
                return fail(ConnectError())

        endpoint: Any = Refusing()
        service = ClientService(endpoint, Factory(), clock=Clock())
        service.startService()
        self.successResultOf(service.stopService())
        self.assertIn("Scheduling retry", events[0]["log_format"])
        self.assertEqual([], self.messages())

    def test_pika_is_silent(self) -> None:
        """The logging of pika, which writes message bodies, is off."""
        log_observer(self.out, "debug")
        self.assertFalse(logging.getLogger("pika.connection").isEnabledFor(logging.CRITICAL))
