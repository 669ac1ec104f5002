"""The audit log."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.appended_files import open_unbuffered
from provider_gateway.errors import SettingsError
from provider_gateway.observability.audit_log import AuditLog
from tests.support.observability import collect_log

LINE = {"event": "dropped", "queue": "fib", "id": "0f", "rquid": 'a"\n\ud800é', "operator": "ann", "from": "::1"}


class SmallDisk:
    """A file on a disk with room for some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.data = b""

    def write(self, data: bytes, /) -> int:
        taken = data[: self.room]
        self.room -= len(taken)
        self.data += taken
        return len(taken)


class AuditLogTests(SynchronousTestCase):
    """What a line has, and when it is written."""

    def test_file(self) -> None:
        """A line is one JSON object with the time, whatever its texts are. It is in the file when ``write`` returns."""
        path = Path(self.mktemp())
        path.write_bytes(b"old\n")
        file = open_unbuffered("AUDIT_LOG", path)
        assert file is not None
        self.addCleanup(file.close)
        log = AuditLog(file, lambda: 1_800_000_000.0)
        for _ in range(2):
            log.write(LINE)
        old, *lines = path.read_bytes().splitlines()
        self.assertEqual(old, b"old")
        expected = {"time": "2027-01-15T08:00:00.000+00:00", **LINE}
        self.assertEqual([json.loads(line) for line in lines], [expected, expected])

    def test_process_log(self) -> None:
        """Without a file it is a line of the process's log, at the level info, with the same fields."""
        logged = collect_log(self)
        AuditLog(None, lambda: 0.0).write(LINE)
        (event,) = logged
        self.assertEqual({name: event[name] for name in LINE}, LINE)
        self.assertEqual(event["log_level"].name, "info")

    def test_full_disk(self) -> None:
        """A line that does not fit on the disk is an error, and leaves no other line broken that is written later."""
        disk = SmallDisk(100)
        log = AuditLog(disk, lambda: 0.0)
        for _ in range(2):
            self.assertRaises(OSError, log.write, LINE)
        disk.room = 1000
        log.write(LINE)
        torn, whole = disk.data.splitlines()
        self.assertEqual(len(torn), 100)
        self.assertEqual(json.loads(whole)["id"], "0f")

    def test_no_such_folder(self) -> None:
        """A file that cannot be opened is an error of one line that names variable and file."""
        self.assertIsNone(open_unbuffered("AUDIT_LOG", None))
        error = self.assertRaises(SettingsError, open_unbuffered, "AUDIT_LOG", Path("no/such/file"))
        expected = "AUDIT_LOG: no/such/file: expected a file that can be appended to, got: No such file or directory"
        self.assertEqual(str(error), expected)
