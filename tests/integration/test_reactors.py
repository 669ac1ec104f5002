"""Durations on each of Twisted's reactors, in the foreground and in the background: demos whose wall clock is set."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import time
import urllib.request
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.processes import TWISTD, Process
from tests.support.stepped_clock import SteppedClock

HOUR = 3600
#: Seconds of REPLY_TIMEOUT, and how much later it may come about on a busy machine.
LIMIT, SLACK = 2, 5
#: Seconds between two looks at a state that no event reports.
LOOK = 0.05


class Demo:
    """A demo whose wall clock can be set.

    Args:
        folder: is new.
        arguments: of twistd.
    """

    def __init__(self, test: TestCase, folder: Path, *arguments: str) -> None:
        folder.mkdir()
        self.wall = SteppedClock(folder)
        self.folder = folder
        command = [TWISTD, *arguments, "provider-gateway", "--demo"]
        variables = {"PATH": "/usr/bin:/bin", "HTTP_PORT": "0", "ADMIN_PORT": "0", "REPLY_TIMEOUT": str(LIMIT)}
        self.process: Process = Process.start(test, command, {**variables, **self.wall.environment}, folder)

    def until(self, found: str, seconds: float = 30) -> str:
        """Wait in a thread until a pattern is in the log; returns its group."""
        log, deadline = self.folder / ".demo" / "gateway.log", time.monotonic() + seconds
        while not log.exists() or (match := re.search(found, log.read_text())) is None:
            if time.monotonic() > deadline:
                raise AssertionError([found, log.exists() and log.read_text(), self.process.lines, self.process.errors])
            time.sleep(LOOK)
        return match[1]

    def ask(self, **model: object) -> tuple[int, float]:
        """Post a request that the sample model treats so, in a thread; returns status and seconds."""
        port = int(self.until(r'"https listener.*?"port": (\d+)'))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        certs = self.folder / ".demo" / "certs"
        tls.load_cert_chain(certs / "client_cert.pem", certs / "client_key.pem")
        client = http.client.HTTPSConnection("localhost", port, context=tls, timeout=60)
        began = time.monotonic()
        headers = {"Content-Type": "application/json", "routing-key": "predict.now"}
        client.request("POST", "/v1/predict", json.dumps({"data": "[1]", **model}), headers)
        status = client.getresponse().status
        client.close()
        return status, time.monotonic() - began

    def wait_for_deliveries(self, count: int) -> None:
        """Wait in a thread until the provider has so many deliveries."""
        port, deadline = self.until(r'"admin listener.*?"port": (\d+)'), time.monotonic() + 30
        pattern = re.compile(r"^provider_gateway_deliveries_in_flight{.*} (\S+)$", re.MULTILINE)
        while True:
            with urllib.request.urlopen(f"http://localhost:{port}/metrics") as response:
                found = pattern.search(response.read().decode())
            if found is not None and float(found[1]) == count:
                return
            assert time.monotonic() < deadline, "no such deliveries in flight"
            time.sleep(LOOK)


class ReactorsTests(TestCase):
    """Each demo gets the same requests; all run at the same time."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    async def steps(self, demo: Demo) -> None:
        """A request survives a step forward, and others get 504 in time in spite of a step back."""
        await deferToThread(demo.until, '"(ready)"')
        slow = deferToThread(demo.ask, delay=1)
        await deferToThread(demo.wait_for_deliveries, 1)
        demo.wall.step(2 * HOUR)
        self.assertEqual((await slow)[0], 200)
        before = deferToThread(demo.ask, hang=True)
        await deferToThread(demo.wait_for_deliveries, 1)
        demo.wall.step(-HOUR)
        for status, seconds in await gatherResults([before, deferToThread(demo.ask, hang=True)]):
            self.assertEqual(status, 504)
            self.assertTrue(LIMIT - 0.2 < seconds < LIMIT + SLACK, f"after {seconds:.2f} s")

    async def test_foreground(self) -> None:
        """Epoll, poll, select and asyncio, with ``--nodaemon``."""
        demos = [
            Demo(self, self.folder / name, f"--reactor={name}", "--nodaemon", "--pidfile=")
            for name in ("epoll", "poll", "select", "asyncio")
        ]
        await gatherResults([Deferred.fromCoroutine(self.steps(each)) for each in demos], consumeErrors=True)

    async def test_background(self) -> None:
        """A process that twistd has put into the background: the clock is made monotonic before the fork."""
        pid_file = self.folder / "background" / "twistd.pid"
        demo = Demo(self, self.folder / "background", f"--pidfile={pid_file.resolve()}", "--logfile=twistd.log")
        self.assertEqual(await demo.process.when_ended(), 0, demo.process.errors)
        # Its parent ends when it has started; it has written its file before.
        self.addCleanup(os.kill, int(pid_file.read_text()), signal.SIGKILL)
        await self.steps(demo)
