"""``parking list``, ``show`` and ``export``."""

from __future__ import annotations

import base64
import json

from provider_gateway.commands.looking import export, list_messages, list_queues, show
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.parking.errors import NoSuchMessage, ParkingBusy, ParkingUnusable
from tests.unit.commands.base import HOSTILE, NOW, CommandTestCase, parked

ID = f"{1:032x}"


class QueuesTests(CommandTestCase):
    """``list`` without a queue."""

    def test_table(self) -> None:
        """Each queue has a line with its count, the age of its oldest message, and the reasons."""
        status = self.result_of(list_queues(self.reactor, self.parking, self.wanted(None)))
        self.assertEqual(Status.DONE, status)
        self.assertEqual(
            "QUEUE  PARKED  OLDEST   REASONS\nfib         3  2 h ago  status 1, timeout 2\nother       0\n",
            self.out.text(),
        )

    def test_filter(self) -> None:
        """With conditions, the number of messages for which they hold is beside that of all."""
        self.result_of(list_queues(self.reactor, self.parking, self.wanted(None, reasons=frozenset(["timeout"]))))
        self.assertIn("fib         3         2  2 h ago  timeout 2\n", self.out.text())

    def test_json(self) -> None:
        """In a pipe each queue is a line of JSON, with its groups."""
        self.result_of(list_queues(self.reactor, self.parking, self.wanted(None, plain=True)))
        fib, other = map(json.loads, self.out.text().splitlines())
        self.assertEqual(("fib", "fib.parking", 3, 3), (fib["queue"], fib["parking"], fib["messages"], fib["matching"]))
        self.assertEqual([("status", 1), ("timeout", 2)], [(each["reason"], each["count"]) for each in fib["groups"]])
        self.assertEqual({"queue": "other", "parking": "other.parking", "messages": 0}, other)

    def test_not_declared(self) -> None:
        """A queue that is not there yet is no failure."""
        self.parking.missing.add("other")
        self.assertEqual(Status.DONE, self.result_of(list_queues(self.reactor, self.parking, self.wanted(None))))
        self.assertIn("not declared yet", self.out.text())

    def test_busy(self) -> None:
        """A queue at which somebody else is has its count and who that is; the others are shown, too."""
        for error, expected in (
            (ParkingBusy("bob is looking"), Status.BUSY),
            (ParkingUnusable("no right"), Status.FAILED),
        ):
            self.parking.errors["fib"] = error
            status = self.result_of(list_queues(self.reactor, self.parking, self.wanted(None)))
            self.assertEqual(expected, status)
            self.assertIn(str(error), self.out.text())
            self.assertIn("other", self.out.text())


class MessagesTests(CommandTestCase):
    """``list`` with a queue."""

    def test_table(self) -> None:
        """The messages by reason, then one line each; columns that none has are left out."""
        self.assertEqual(Status.DONE, self.result_of(list_messages(self.reactor, self.parking, self.wanted())))
        text = self.out.text()
        self.assertTrue(text.startswith("fib: 3 messages in fib.parking\n\nREASON   MESSAGES"), text)
        self.assertIn(f"{ID}  2 h ago  timeout      5  2 bytes  rq-1\n", text)
        self.assertNotIn("IDENTITY", text)
        self.assertNotIn("are listed", text)

    def test_long(self) -> None:
        """A terminal gets the first 100, or as many as were asked for, and is told that there are more."""
        self.parking.messages = [(parked(number), b"") for number in range(250)]
        self.result_of(list_messages(self.reactor, self.parking, self.wanted()))
        self.assertEqual(100, self.out.text().count("rq-"))
        self.assertIn("The first 100 of 250 are listed", self.out.text())
        self.result_of(list_messages(self.reactor, self.parking, self.wanted(limit=200)))
        self.assertEqual(300, self.out.text().count("rq-"))

    def test_json(self) -> None:
        """In a pipe every message is a line of JSON, without headers and body."""
        self.parking.messages = [(parked(number, headers={"a": "secret"}), b"secret") for number in range(250)]
        self.result_of(list_messages(self.reactor, self.parking, self.wanted(plain=True)))
        lines = [json.loads(line) for line in self.out.text().splitlines()]
        self.assertEqual([f"rq-{number}" for number in range(250)], [each["rquid"] for each in lines])
        self.assertEqual({"fib"}, {each["queue"] for each in lines})
        self.assertNotIn("secret", self.out.text())
        self.assertEqual("", self.err.text())

    def test_nothing(self) -> None:
        """Nothing that matches is an exit status of its own; an empty queue without conditions is not."""
        wanted = self.wanted(rquid="nobody")
        self.assertEqual(Status.NOTHING, self.result_of(list_messages(self.reactor, self.parking, wanted)))
        self.assertIn("3 messages in fib.parking; 0 match\n", self.out.text())
        self.parking.messages = []
        self.assertEqual(Status.DONE, self.result_of(list_messages(self.reactor, self.parking, self.wanted())))

    def test_part(self) -> None:
        """If not all were looked at, that is said, in a pipe on standard error."""
        self.parking.looked_at = 2
        self.result_of(list_messages(self.reactor, self.parking, self.wanted(plain=True)))
        self.assertIn("the first 2 were looked at", self.err.text())

    def test_limit(self) -> None:
        """A list that ends at its limit is whole: in a pipe nothing is said."""
        self.result_of(list_messages(self.reactor, self.parking, self.wanted(plain=True, limit=1)))
        self.assertEqual(("", 1), (self.err.text(), len(self.out.text().splitlines())))

    def test_hostile(self) -> None:
        """Whatever a message holds, the terminal shows its characters and does nothing else."""
        fields = dict.fromkeys(("reason", "rquid", "identity", "model_error"), HOSTILE)
        self.parking.messages = [(parked(1, **fields), b"")]
        self.result_of(list_messages(self.reactor, self.parking, self.wanted()))
        self.assert_safe(self.out.text())
        self.assertEqual(7, len(self.out.text().splitlines()))
        self.result_of(list_messages(self.reactor, self.parking, self.wanted(plain=True)))
        last = self.out.text().splitlines()[-1]
        self.assertTrue(last.isascii() and last.isprintable())
        self.assertEqual(HOSTILE, json.loads(last)["rquid"])

    def test_queue(self) -> None:
        """A queue is known by its name and by that of its parking queue; another name is an error that lists them."""
        self.result_of(list_messages(self.reactor, self.parking, self.wanted("fib.parking")))
        self.assertIn("fib: 3 messages", self.out.text())
        for name in ("fob", "FIB", HOSTILE):
            error = self.error_of(list_messages(self.reactor, self.parking, self.wanted(name)), Ended)
            self.assertEqual(Status.USAGE, error.status)
            self.assertIn("there are fib, other", str(error))


class ShowTests(CommandTestCase):
    """``show``."""

    def show(self, wanted: object, *, body_only: bool = False) -> int:
        status: int = self.result_of(show(self.reactor, self.parking, wanted, body_only=body_only))  # type: ignore[arg-type]
        return status

    def test_terminal(self) -> None:
        """One message is shown with its fields, headers and body; JSON is indented, with its numbers as they are."""
        message = parked(1, headers={"RqUID": "rq-1", "n": 5, "t": {"a": [b"\xff", True]}}, model_status=500)
        self.parking.messages = [(message, b'{"a":1.10000000000000000001,"a":[]}')]
        self.assertEqual(Status.DONE, self.show(self.wanted(ids=frozenset([ID]))))
        text = self.out.text()
        for part in (
            f"Id:             {ID}\n",
            "Queue:          fib\n",
            "Model:          HTTP 500\n",
            "Tries:          5\n",
            '  n: 5\n  t: {"a": [{"base64": "/w=="}, true]}\n',
            'Body:\n{\n  "a": 1.10000000000000000001,\n  "a": []\n}\n',
        ):
            self.assertIn(part, text)
        self.assertNotIn("Identity", text)

    def test_json(self) -> None:
        """In a pipe it is one line of JSON, with the body as text, or as base64 if it is none."""
        self.show(self.wanted(ids=frozenset([ID]), plain=True))
        self.assertEqual('{"a":1}', json.loads(self.out.text())["body"]["text"])
        self.show(self.wanted(ids=frozenset([f"{3:032x}"]), plain=True))
        self.assertEqual(b"\xff\0", base64.b64decode(json.loads(self.out.text().splitlines()[1])["body"]["base64"]))

    def test_by_condition(self) -> None:
        """Other conditions do as well if one message matches; if several do, they are listed to choose from."""
        self.assertEqual(Status.DONE, self.show(self.wanted(rquid="rq-2")))
        self.assertIn("HTTP 500", self.out.text())
        several = self.wanted(reasons=frozenset(["timeout"]))
        error = self.error_of(show(self.reactor, self.parking, several, body_only=False), Ended)
        self.assertEqual((Status.USAGE, "2 messages match: choose one with --id"), (error.status, str(error)))
        self.assertIn(ID, self.err.text())
        none = self.wanted(rquid="x")
        error = self.error_of(show(self.reactor, self.parking, none, body_only=False), Ended)
        self.assertEqual(Status.NOTHING, error.status)
        gone = self.wanted(ids=frozenset(["f" * 32]))
        self.error_of(show(self.reactor, self.parking, gone, body_only=False), NoSuchMessage)

    def test_body(self) -> None:
        """``--body`` is the body alone, byte for byte in a pipe; on a terminal what is no text is hex."""
        wanted = self.wanted(ids=frozenset([f"{3:032x}"]), plain=True)
        self.show(wanted, body_only=True)
        self.out.flush()
        self.assertEqual(b"\xff\0", self.out.buffer.getvalue())  # type: ignore[attr-defined]

    def test_body_on_terminal(self) -> None:
        """On a terminal what is no text is hex."""
        self.show(self.wanted(ids=frozenset([f"{3:032x}"])), body_only=True)
        self.assertEqual(f"00000000  {'ff 00':47}  ..\n", self.out.text())

    def test_long_bodies(self) -> None:
        """A long body is shown in part, with its size and how to get all of it."""
        for body in (b"x" * 10**6, b"\xff" * 10**6):
            self.parking.messages = [(parked(1), body)]
            self.show(self.wanted(ids=frozenset([ID])))
            self.assertIn("… (976.6 KiB in all; --body > FILE writes them)\n", self.out.text())
        self.assertLess(len(self.out.text()), 300_000)

    def test_hostile(self) -> None:
        """Fields, names and values of headers, and bodies of any kind move no cursor."""
        fields = dict.fromkeys(
            ("reason", "rquid", "identity", "model_error", "routing_key", "message_id", "reply_to", "content_type"),
            HOSTILE,
        )
        body = HOSTILE.encode()
        for body in (
            HOSTILE.encode(),
            json.dumps({HOSTILE: HOSTILE}).encode(),
            b"\xff" + HOSTILE.encode(),
            b"[" * 10**5,
        ):
            headers = {HOSTILE: HOSTILE, "b": HOSTILE.encode() + b"\xff", "t": {HOSTILE: [HOSTILE]}}
            self.parking.messages = [(parked(1, headers=headers, **fields), body)]
            self.show(self.wanted(ids=frozenset([ID])))
            self.show(self.wanted(ids=frozenset([ID])), body_only=True)
            self.assert_safe(self.out.text())


class ExportTests(CommandTestCase):
    """``export``."""

    def test_all(self) -> None:
        """Each message that matches is a line with headers and body; how many there were is on standard error."""
        status = self.result_of(export(self.reactor, self.parking, self.wanted(reasons=frozenset(["timeout"]))))
        self.assertEqual(Status.DONE, status)
        first, last = map(json.loads, self.out.text().splitlines())
        self.assertEqual(("rq-1", '{"a":1}', {}), (first["rquid"], first["body"]["text"], first["headers"]))
        self.assertEqual("/wA=", last["body"]["base64"])
        self.assertEqual("2 messages exported; they stay parked\n", self.err.text())

    def test_nothing(self) -> None:
        """Nothing that matches is an exit status of its own."""
        wanted = self.wanted(rquid="nobody")
        self.assertEqual(Status.NOTHING, self.result_of(export(self.reactor, self.parking, wanted)))

    def test_part(self) -> None:
        """An export that could not look at every message is no success: a script would take it for a whole one."""
        self.parking.looked_at = 1
        self.error_of(export(self.reactor, self.parking, self.wanted(limit=4)), Ended)
        error = self.error_of(export(self.reactor, self.parking, self.wanted()), Ended)
        self.assertEqual(Status.FAILED, error.status)
        self.assertIn("the first 1 were looked at", str(error))

    def test_limit(self) -> None:
        """An export of as many messages as were asked for is whole, though the others were not looked at."""
        self.assertEqual(Status.DONE, self.result_of(export(self.reactor, self.parking, self.wanted(limit=1))))
        self.assertEqual("1 message exported; it stays parked\n", self.err.text())

    def test_unwritten(self) -> None:
        """An output that takes no more ends the export with that error."""

        class Full:
            def write(self, _text: str) -> int:
                raise OSError(28, "No space left on device")

        import sys  # noqa: PLC0415

        self.patch(sys, "stdout", Full())
        self.error_of(export(self.reactor, self.parking, self.wanted()), OSError)

    def test_headers_of_any_type(self) -> None:
        """A header of any type that AMQP has becomes JSON."""
        from datetime import UTC, datetime  # noqa: PLC0415
        from decimal import Decimal  # noqa: PLC0415

        values = {"d": Decimal("1.5"), "t": datetime.fromtimestamp(NOW, UTC), "f": float("nan"), "n": None, "b": b"x"}
        self.parking.messages = [(parked(1, headers=values), b"")]
        self.result_of(export(self.reactor, self.parking, self.wanted()))
        found = json.loads(self.out.text())["headers"]
        self.assertEqual(
            {"d": "1.5", "t": "2027-01-15T08:00:00+00:00", "f": "nan", "n": None, "b": {"text": "x"}}, found
        )
