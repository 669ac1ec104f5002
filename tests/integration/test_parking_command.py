"""``provider-gateway parking`` as people and scripts run it: the installed script, a real broker, a real terminal."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pika
import yaml
from twisted.internet.defer import gatherResults
from twisted.internet.utils import getProcessOutputAndValue

from tests.support.integration import IntegrationTestCase
from tests.support.processes import Process
from tests.support.rabbitmq import take
from tests.support.terminal import CTRL_C, CTRL_D, OnTerminal

SCRIPT = str(Path(sys.executable).with_name("provider-gateway"))
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\x9b31m\r\nfib.parking: 0 messages\u2028"


class CommandTestCase(IntegrationTestCase):
    """``self.queue`` has a parking queue, with messages in it that were parked as the process parks them."""

    async def setUp(self) -> None:
        await super().setUp()
        self.state = self.folder / "state"
        queues = self.folder / "queues.yaml"
        queues.write_text(yaml.safe_dump([self.entry(dle=True)]))
        self.environ = self.environment(
            QUEUES_CONF=str(queues.resolve()), XDG_STATE_HOME=str(self.state.resolve()), COLUMNS="200", LANG="C.UTF-8"
        )
        await self.on_channel(self._declare)

    def _declare(self, channel: Any) -> None:
        channel.queue_declare(self.queue, durable=True)
        channel.queue_declare(f"{self.queue}.parking", durable=True)
        channel.exchange_declare(f"{self.queue}.return", "fanout", durable=True)
        channel.queue_bind(self.queue, f"{self.queue}.return")

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        channel.queue_delete(f"{self.queue}.parking.operator")

    async def park(self, count: int, *, body: bytes = b'{"n": 1}', **headers: Any) -> None:
        """Park messages."""

        def publish(channel: Any) -> None:
            for number in range(count):
                known = {
                    "RqUID": f"rq-{number}",
                    "pg-reason": "timeout",
                    "pg-queue": self.queue,
                    "pg-attempt": 5,
                    "pg-parked-at": int((time.time() - 7500) * 1000),
                    "pg-routing-key": "predict.now",
                }
                told = {name.replace("_", "-"): value for name, value in headers.items()}
                properties = pika.BasicProperties(
                    headers=known | told,
                    content_type="application/json",
                    message_id=uuid.uuid4().hex,
                    correlation_id=uuid.uuid4().hex,
                    delivery_mode=2,
                )
                channel.basic_publish("", f"{self.queue}.parking", body, properties)

        await self.on_channel(publish)

    async def left(self) -> tuple[int, int]:
        """How many messages are in the work queue and in the parking queue."""

        def count(channel: Any) -> tuple[int, int]:
            names = self.queue, f"{self.queue}.parking"
            first, last = (channel.queue_declare(name, passive=True).method.message_count for name in names)
            return first, last

        found: tuple[int, int] = await self.on_channel(count)
        return found

    async def piped(self, *arguments: str, status: int = 0) -> tuple[list[Any], str]:
        """Run a command in a pipe; returns its JSON lines, and its errors."""
        out, err, ended = await getProcessOutputAndValue(
            SCRIPT, ["parking", *arguments], env=self.environ, path=str(self.folder)
        )
        self.assertEqual(status, ended, err.decode() + out.decode()[:1000])
        self.assertNotIn("Traceback", err.decode())
        self.assertTrue(out.isascii())
        return [json.loads(line) for line in out.splitlines()], err.decode()

    async def shell(self, line: str) -> tuple[str, str, int]:
        """Run a line of bash in which the script is known; returns output, errors and status."""
        environ = self.environ | {"PATH": f"{Path(SCRIPT).parent}:/usr/bin:/bin"}
        out, err, status = await getProcessOutputAndValue(
            "/bin/bash", ["--norc", "-c", line], env=environ, path=str(self.folder)
        )
        return out.decode(), err.decode(), status

    def terminal(self, *arguments: str) -> OnTerminal:
        """Start a command on a terminal."""
        started: OnTerminal = OnTerminal.start(self, [SCRIPT, "parking", *arguments], self.environ, self.folder)
        return started

    def audit(self) -> list[dict[str, Any]]:
        path = self.state / "provider-gateway" / "audit.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class PipeTests(CommandTestCase):
    """In a pipe: for scripts."""

    async def test_walk(self) -> None:
        """List, show, export, replay, drop: each says in JSON what it found or did, and it was done at the broker."""
        await self.park(3)
        await self.park(2, pg_reason="status", pg_model_status=500, pg_model_error="boom", body=b"\xff\0")
        (queue,), errors = await self.piped("list")
        self.assertEqual("", errors)
        self.assertEqual((self.queue, 5, 5), (queue["queue"], queue["messages"], queue["matching"]))
        self.assertEqual([("timeout", 3), ("status", 2)], [(each["reason"], each["count"]) for each in queue["groups"]])
        messages, _ = await self.piped("list", "--queue", self.queue)
        self.assertEqual(["rq-0", "rq-1", "rq-2", "rq-0", "rq-1"], [each["rquid"] for each in messages])
        first, last = messages[0], messages[-1]
        told = tuple(last[name] for name in ("reason", "model_status", "model_error", "size"))
        self.assertEqual(("status", 500, "boom", 2), told)
        (shown,), errors = await self.piped("show", "--id", first["id"])
        self.assertEqual(('{"n": 1}', "timeout"), (shown["body"]["text"], shown["headers"]["pg-reason"]))
        self.assertEqual(f"Audit log: {self.state.resolve()}/provider-gateway/audit.log\n", errors)
        exported, errors = await self.piped("export", "--reason", "status", "--why", "for the developers")
        self.assertEqual(["/wA=", "/wA="], [each["body"]["base64"] for each in exported])
        self.assertTrue(errors.startswith("2 messages exported; they stay parked\n"), errors)
        self.assertEqual((0, 5), await self.left())

        (job,), _ = await self.piped("replay", "--reason", "timeout", "--limit", "2", "--yes", "--why", "mended")
        self.assertEqual(("done", 2, 2), (job["state"], job["done"], job["total"]))
        self.assertEqual((2, 3), await self.left())
        (job,), _ = await self.piped("drop", "--id", last["id"], "--yes")
        self.assertEqual(("done", 1), (job["state"], job["done"]))
        self.assertEqual((2, 2), await self.left())
        (properties, body), _ = await self.on_channel(lambda channel: take(channel, self.queue, 2))
        headers = properties.headers
        self.assertEqual((b'{"n": 1}', "rq-0", 1), (body, headers["RqUID"], headers["pg-replays"]))

        lines = self.audit()
        self.assertEqual(
            ["shown", "exported", "exported", "replayed", "replayed", "dropped"], [each["event"] for each in lines]
        )
        self.assertEqual(["", "for the developers", "mended"], [lines[place]["why"] for place in (0, 1, 3)])
        self.assertEqual((last["id"], self.queue), (lines[5]["id"], lines[5]["queue"]))

    async def test_nothing(self) -> None:
        """Nothing that matches is exit status 3, and nothing is done; an empty queue is listed with 0."""
        empty = {"queue": self.queue, "parking": f"{self.queue}.parking", "messages": 0}
        self.assertEqual(([empty], ""), await self.piped("list"))
        await self.park(1)
        for arguments in (
            ("list", "--queue", self.queue, "--rquid", "x"), ("show", "--id", "f" * 32), ("export", "--grep", "x"),
            ("replay", "--rquid", "x"), ("drop", "--since", "1h", "--yes"), ("drop", "--older-than", "3h", "--yes"),
        ):  # fmt: skip
            await self.piped(*arguments, status=3)
        self.assertEqual((0, 1), await self.left())
        self.assertEqual([], self.audit())

    async def test_nobody_to_ask(self) -> None:
        """Without a terminal and ``--yes`` nothing is done, and the error says what to do."""
        await self.park(1)
        for action in ("replay", "drop"):
            _, errors, status = await self.shell(f"provider-gateway parking {action} </dev/null")
            self.assertEqual(2, status)
            self.assertIn("--yes", errors)
        (job,), _ = await self.piped("drop", "--dry-run")
        self.assertEqual((True, "done", 1), (job["dry_run"], job["state"], job["done"]))
        self.assertEqual((0, 1), await self.left())

    async def test_reader_that_ends(self) -> None:
        """``| head`` ends it without a word."""
        await self.park(3000)
        line = f"provider-gateway parking list --queue {self.queue} | head -n 1; exit ${{PIPESTATUS[0]}}"
        out, errors, status = await self.shell(line)
        self.assertEqual((1, "", 141), (len(out.splitlines()), errors, status))
        line = "provider-gateway parking export | head -n 1 >first; exit ${PIPESTATUS[0]}"
        _, errors, status = await self.shell(line)
        self.assertEqual(141, status)
        self.assertNotIn("Error", errors)
        self.assertEqual((0, 3000), await self.left())

    async def test_output_that_takes_no_more(self) -> None:
        """An export that could not be written is no success, and says why."""
        await self.park(1)
        for command in ("export", "show"):
            _, errors, status = await self.shell(f"provider-gateway parking {command} >/dev/full")
            self.assertEqual(1, status)
            self.assertIn("No space left on device", errors)
            self.assertNotIn("Traceback", errors)
        _, errors, status = await self.shell("provider-gateway parking list >&-")
        self.assertEqual((0, ""), (status, errors))

    async def test_body(self) -> None:
        """``show --body`` writes the body byte for byte."""
        body = bytes(range(256)) * 1000
        await self.park(1, body=body)
        _, _, status = await self.shell("provider-gateway parking show --body >body")
        self.assertEqual((0, body), (status, (self.folder / "body").read_bytes()))

    async def test_setting(self) -> None:
        """Wrong settings, wrong files and a broker that is not there are one line each, with status 1, as in twistd."""
        for variables, part in (
            ({"RMQ_URL": "amqps://user:hunter2@localhost:x/"}, "RMQ_URL: expected"),
            ({"MQ_CACERT": "/nowhere"}, "MQ_CACERT: /nowhere: "),
            ({"QUEUES_CONF": "/nowhere"}, "/nowhere: cannot be read as a queue file"),
            ({"AUDIT_LOG": "/nowhere/a"}, "AUDIT_LOG: /nowhere/a"),
            ({"RMQ_URL": "amqps://localhost:1/"}, "localhost:1"),
            ({"RMQ_URL": self.broker.url.replace("amqps://", "amqps://nobody:hunter2@")}, "ACCESS_REFUSED"),
        ):
            before, self.environ = self.environ, self.environ | variables
            _, errors = await self.piped("list", status=1)
            self.assertEqual(1, len(errors.splitlines()), errors)
            self.assertTrue(errors.startswith("provider-gateway: "), errors)
            self.assertIn(part, errors)
            self.assertNotIn("hunter2", errors)
            self.environ = before

    async def test_busy(self) -> None:
        """While a replay runs, others are told who is at the queue, with status 4; then they can go on.

        It runs at low priority: requests that are served on the same machine go first.
        """
        await self.park(200)
        replay: Process = Process.start(
            self, [SCRIPT, "parking", "replay", "--yes", "--rate", "3"], self.environ, self.folder
        )
        await self.until_some_are_replayed()
        pid = replay.transport.pid
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, 0) + 10, os.getpriority(os.PRIO_PROCESS, pid))
        for arguments in (("list", "--queue", self.queue), ("replay", "--yes")):
            _, errors = await self.piped(*arguments, status=4)
            self.assertIn("replay", errors)
            self.assertIsNone(replay.ended, replay.errors)
        (queue,), _ = await self.piped("list", status=4)
        self.assertIn("error", queue)
        replay.signal("TERM")
        self.assertEqual(143, await replay.when_ended())
        (job,) = map(json.loads, replay.lines)
        self.assertEqual("canceled", job["state"])
        work, parked = await self.left()
        self.assertEqual((200, job["done"]), (work + parked, work))
        await self.piped("list", "--queue", self.queue)

    async def until_some_are_replayed(self) -> None:
        """Wait until a replay has begun to publish."""

        def consume(channel: Any) -> None:
            for _ in channel.consume(self.queue, inactivity_timeout=30):
                break
            channel.cancel()

        await self.on_channel(consume)

    async def test_check(self) -> None:
        """``provider-gateway check --connect`` says what ``twistd provider-gateway --check --connect`` says."""
        out, errors, status = await self.shell("provider-gateway check --connect --role provider")
        self.assertEqual((0, ""), (status, errors))
        self.assertIn(f"broker {self.broker.url}", out)
        self.assertIn("RMQ_URL: ", out)
        self.environ["HTTP_PORT"] = "fifty"
        out, errors, status = await self.shell("provider-gateway check")
        self.assertEqual((1, ""), (status, out))
        self.assertTrue(errors.startswith("provider-gateway: HTTP_PORT: expected a valid integer"), errors)

    async def test_openapi(self) -> None:
        """``provider-gateway openapi`` prints what ``twistd provider-gateway --openapi`` prints."""
        out, errors, status = await self.shell("provider-gateway openapi")
        self.assertEqual((0, ""), (status, errors))
        self.assertEqual((out, "", 0), await self.shell("twistd -n --pidfile= provider-gateway --openapi"))
        self.assertIn("/v1/predict", json.loads(out)["paths"])

    async def test_completion(self) -> None:
        """The documented line has bash complete commands, options and the names of queues."""
        line = """eval "$(_PROVIDER_GATEWAY_COMPLETE=bash_source provider-gateway)"
            for words in "provider-gateway pa" "provider-gateway parking drop -q " "provider-gateway parking list --old"
            do
                COMPREPLY=()
                COMP_WORDS=($words); [[ $words == *\\  ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
                _provider_gateway_completion provider-gateway; echo "${COMPREPLY[@]}"
            done"""
        out, errors, status = await self.shell(line)
        self.assertEqual((f"parking\n{self.queue}\n--older-than\n", 0), (out, status), errors)


class TerminalTests(CommandTestCase):
    """On a terminal: for people."""

    async def test_walk(self) -> None:
        """Tables; a question before anything is done; a line that says what was done."""
        await self.park(2)
        listed = self.terminal("list")
        self.assertEqual(0, await listed.when_ended())
        row = rf"QUEUE +PARKED +OLDEST +REASONS\r\n{re.escape(self.queue)} +2 +2 h ago +timeout 2\r\n"
        self.assertRegex(listed.written, row)
        listed = self.terminal("list", "--queue", self.queue)
        self.assertEqual(0, await listed.when_ended())
        self.assertIn(f"{self.queue}: 2 messages in {self.queue}.parking", listed.written)
        self.assertEqual(2, len(re.findall(r"\r\n[0-9a-f]{32}  2 h ago  timeout ", listed.written)))
        for keys, status in ((b"n\n", 1), (CTRL_D, 2), (CTRL_C, 130)):
            drop = self.terminal("drop")
            await drop.shows("Drop all 2 messages for good? [y/N] ")
            drop.press(keys)
            self.assertEqual(status, await drop.when_ended(), drop.written)
            self.assertIn("nothing was done", drop.written)
            self.assertNotIn("Traceback", drop.written)
        self.assertEqual((0, 2), await self.left())
        replay = self.terminal("replay", "--limit", "1")
        await replay.shows("Replay 1 message? [y/N] ")
        await self.park(1)  # while somebody thinks
        replay.press(b"y\n")
        self.assertEqual(0, await replay.when_ended(), replay.written)
        self.assertIn(f"{self.queue}: 1 message replayed\r\n", replay.written)
        self.assertIn("Audit log: ", replay.written)
        self.assertEqual((1, 2), await self.left())

    async def test_show(self) -> None:
        """One message in full, found by its request id."""
        await self.park(2, body=b'{"a":[1,{}]}')
        shown = self.terminal("show", "--rquid", "rq-1")
        self.assertEqual(0, await shown.when_ended(), shown.written)
        self.assertIn("Reason:         timeout\r\n", shown.written)
        self.assertIn('Body:\r\n{\r\n  "a": [\r\n    1,\r\n    {}\r\n  ]\r\n}\r\n', shown.written)

    async def test_hostile(self) -> None:
        """Nothing that a message holds does anything to the terminal, and its characters can be read."""
        await self.park(
            1,
            body=json.dumps({"x": HOSTILE}, ensure_ascii=False).encode(),
            RqUID=HOSTILE, pg_reason=HOSTILE, pg_model_error=HOSTILE, pg_identity=HOSTILE, **{HOSTILE: HOSTILE},
        )  # fmt: skip
        await self.park(1, body=HOSTILE.encode())
        for arguments in (
            ("list",), ("list", "-q", self.queue), ("list", "-q", self.queue, "-o", "json"), ("show", "--limit", "1"),
            ("show", "--reason", HOSTILE, "--body"), ("show", "--grep", "evil"), ("drop", "--queue", HOSTILE),
        ):  # fmt: skip
            ran = self.terminal(*arguments)
            await ran.when_ended()
            self.assertFalse(set(ran.written) & set("\x1b\x07\x08\x9b\u202e\u2028"), (arguments, ran.written))
            self.assertNotIn("\n" + "fib.parking: 0", ran.written)
            self.assertNotIn("Traceback", ran.written)

    async def test_interrupt(self) -> None:
        """Ctrl-C in a replay: it stops in order and says what was done; the rest is still parked."""
        await self.park(50)
        replay = self.terminal("replay", "--yes", "--rate", "5")
        await replay.shows("]  ")  # the bar
        replay.press(CTRL_C)
        self.assertEqual(130, await replay.when_ended(), replay.written)
        self.assertIn("stopping", replay.written)
        said = re.search(r": (\d+) messages? replayed; (\d+) not reached, and still parked; canceled", replay.written)
        assert said is not None, replay.written
        self.assertEqual((int(said[1]), int(said[2])), await self.left())
        self.assertEqual(50, sum(await self.left()))
        self.assertEqual(int(said[1]), len(self.audit()))

    async def test_no_folder_for_the_audit_log(self) -> None:
        """Where no file can be written, the lines are on standard error."""
        await self.park(1)
        self.environ["XDG_STATE_HOME"] = "/proc"
        _, errors = await self.piped("drop", "--yes")
        self.assertEqual("dropped", json.loads(errors)["event"])


class ManyTests(CommandTestCase):
    """Several commands at the same time."""

    async def test_two_replays(self) -> None:
        """Two replays at once: one of them works, the other is told so or finds the rest; no message is sent twice."""
        await self.park(300)
        replay = [SCRIPT, ["parking", "replay", "--yes"], self.environ, str(self.folder)]
        ended = await gatherResults([getProcessOutputAndValue(*replay) for _ in range(2)])
        self.assertIn(0, [status for _, _, status in ended])
        self.assertTrue({status for _, _, status in ended} <= {0, 3, 4}, ended)
        self.assertEqual((300, 0), await self.left())
