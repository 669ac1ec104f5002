"""What a command begins with: the queue that is meant, the user, the audit log."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.opening import Files, open_audit, queue_names, this_user, work_queue
from provider_gateway.commands.outcomes import Ended
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.config.settings import Settings
from provider_gateway.errors import SettingsError
from provider_gateway.parking.places import places_of
from tests.unit.commands.base import NOW, CommandTestCase

SHARED = """
- {topic: T, queueName: a, bindingKey: a, parkingQueue: p}
- {topic: T, queueName: b, bindingKey: b, parkingQueue: p}
"""


class QueueTests(SynchronousTestCase):
    """Which queue is meant."""

    def test_only_one(self) -> None:
        """The only queue need not be named; of several, one has to be."""
        one = places_of(parse_queues("[{topic: T, queueName: fib, bindingKey: fib}]", "q"), webhooks=False)
        self.assertEqual("fib", work_queue(one, None))
        two = places_of(parse_queues(SHARED, "q"), webhooks=False)
        self.assertIn("There are a, b", str(self.assertRaises(Ended, work_queue, two, None)))

    def test_shared(self) -> None:
        """A parking queue of several work queues does not say which of them is meant."""
        two = places_of(parse_queues(SHARED, "q"), webhooks=False)
        self.assertEqual("b", work_queue(two, "b"))
        self.assertIn("name the work queue: a, b", str(self.assertRaises(Ended, work_queue, two, "p")))

    def test_names(self) -> None:
        """Completion finds the queues by option or QUEUES_CONF, though no broker is set."""
        path = Path(self.mktemp())
        path.write_text(SHARED)
        self.patch(os, "environ", {})
        self.assertEqual(["a", "b"], queue_names(Files(None, path)))
        self.patch(os, "environ", {"QUEUES_CONF": str(path)})
        self.assertEqual(["a", "b"], queue_names(Files(None, None)))


class UserTests(SynchronousTestCase):
    """Who the audit log says it was."""

    def test_name(self) -> None:
        """The name is that of the system's user, not of a variable, which anybody may set; else the number."""
        self.patch(os, "environ", {"USER": "mallory", "LOGNAME": "mallory"})
        self.assertNotEqual("mallory", this_user().name)
        self.patch(os, "getuid", lambda: 1_000_670_042)
        self.assertEqual("uid 1000670042", this_user().name)


class AuditTests(CommandTestCase):
    """Where audit lines go."""

    def audit(self, **variables: str) -> Any:
        self.patch(os, "environ", variables)
        settings: Any = Settings(_env_file=None, rmq_url="amqp://localhost/")
        return open_audit(settings, lambda: NOW)

    def test_setting(self) -> None:
        """AUDIT_LOG is the file; one that cannot be written is an error of one line."""
        path = Path(self.mktemp())
        audit = self.audit(AUDIT_LOG=str(path))
        audit({"event": "replayed", "queue": "fib", "operator": "o"})
        self.assertEqual("replayed", json.loads(path.read_text())["event"])
        self.assertEqual((1, path), (audit.lines, audit.path))
        error = self.assertRaises(SettingsError, self.audit, AUDIT_LOG=str(path / "x"))
        self.assertIn("AUDIT_LOG", str(error))

    def test_own_folder(self) -> None:
        """Without it, it is a file in the user's folder for such things, which nobody else may read."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        for variables, place in (
            ({"XDG_STATE_HOME": str(folder / "state")}, "state"),
            ({"HOME": str(folder)}, ".local/state"),
            ({"HOME": str(folder), "XDG_STATE_HOME": "relative"}, ".local/state"),
            ({"HOME": str(folder), "XDG_STATE_HOME": ""}, ".local/state"),
        ):
            audit = self.audit(**variables)
            audit({"event": "dropped", "queue": "fib", "operator": "o"})
            self.assertEqual(folder / place / "provider-gateway" / "audit.log", audit.path)
            self.assertEqual(0o700, audit.path.parent.stat().st_mode & 0o777)

    def test_no_folder(self) -> None:
        """Where no file can be made, such as in a container, the lines go to standard error."""
        file = Path(self.mktemp())
        file.write_text("")
        audit = self.audit(HOME=str(file))
        audit({"event": "dropped", "queue": "fib", "operator": "o"})
        self.assertIsNone(audit.path)
        self.assertEqual("dropped", json.loads(self.err.text())["event"])

    def test_standard_output(self) -> None:
        """An AUDIT_LOG that is standard output, as in a container, must not mix with what the command writes there."""
        self.patch(os, "fstat", lambda _number: os.stat("/"))
        audit = self.audit(AUDIT_LOG=self.mktemp())
        self.assertIsNone(audit.path)

    def test_no_standard_error(self) -> None:
        """Without standard error there is no place for the line: the message is left as it is."""
        file = Path(self.mktemp())
        file.write_text("")
        audit = self.audit(HOME=str(file))
        self.patch(sys, "stderr", None)
        self.assertRaises(OSError, audit, {"event": "dropped", "queue": "fib", "operator": "o"})
