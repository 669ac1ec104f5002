"""docs/your-model.md as a new user would follow it: every command of the page, in its terminals, with its output."""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import sys
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from devtools.ports import free_ports
from tests.support.certificates import certificates
from tests.support.documented_commands import Step, Terminal, steps
from tests.support.folders import ROOT
from tests.support.processes import Process

PAGE = ROOT / "docs/your-model.md"
#: The page's ports; the test puts free ones in their place.
PORTS = ("5050", "5080", "5671", "8000", "8001")
#: What a clone has that the page's commands use.
OF_CLONE = ("certs-example", "devtools", "examples")
#: Words that somebody reads in a minute: slowly, as the page is technical.
WORDS_PER_MINUTE = 200


class YourModelTests(TestCase):
    """The page, in a folder that looks like a clone."""

    timeout = 240

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        (self.folder / "my").mkdir(parents=True)
        for name in OF_CLONE:
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / ".venv").symlink_to(sys.prefix)
        # Larger than a frame of the broker and than any buffer of ours.
        photo = b"\xff\xd8\xff\xe0" + random.Random(17).randbytes(1_000_000) + b"\xff\xd9"
        (self.folder / "my/photo.jpg").write_bytes(photo)
        self.ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self.terminals: dict[str, Terminal] = {}

    def with_free_ports(self, text: str) -> str:
        """A text of the page with the test's ports."""
        return re.sub(r"\b(?:" + "|".join(PORTS) + r")\b", lambda found: self.ports[found[0]], text)

    def terminal(self, name: str) -> Terminal:
        """The terminal of this name; opened when it is first used."""
        if name not in self.terminals:
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "LANG": "C.UTF-8",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "HTTP_PORT": self.ports["5050"],
                "ADMIN_PORT": self.ports["5080"],
            }
            self.terminals[name] = Terminal.open(self, environment, self.folder)
        return self.terminals[name]

    async def run_step(self, step: Step) -> None:
        """Run one command of the page."""
        here = Step(step.terminal, self.with_free_ports(step.command), tuple(map(self.with_free_ports, step.output)))
        wrong = await self.terminal(step.terminal).run(here)
        if wrong is not None:
            self.fail(f"{step.terminal}$ {here.command}\nexpected:\n" + "\n".join(here.output) + f"\nfound:\n{wrong}")

    async def test_page(self) -> None:
        """Every command does what the page shows; commands and reading take ten minutes at most."""
        text = PAGE.read_text()
        began = time.monotonic()
        for step in steps(text):
            await self.run_step(step)
        minutes = (time.monotonic() - began) / 60 + len(text.split()) / WORDS_PER_MINUTE
        self.assertLess(minutes, 10)
        digest = hashlib.sha256((self.folder / "my/photo.jpg").read_bytes()).hexdigest()
        with_digest = [line for line in self.terminals[""].lines if digest in line]
        self.assertEqual(len(with_digest), 4, "curl, sha256sum, Python, and the answer that came late")


class NodeTests(TestCase):
    """``python -m devtools.rabbitmq``, the page's broker."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()

    async def test_terminal_is_closed(self) -> None:
        """A node ends with the terminal in which it was started."""
        port = free_ports(1)[0]
        command = [sys.executable, "-m", "devtools.rabbitmq", str(self.folder), str(certificates()), str(port)]
        node = Process.start(self, command, {"PATH": os.environ["PATH"]}, ROOT)
        await node.when(lambda: len(node.lines) == 2)
        with socket.create_connection(("127.0.0.1", port)):
            pass
        node.signal("HUP")
        self.assertEqual(await node.when_ended(), 0)
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", port)), 0)


class RunnerTests(TestCase):
    """What runs the page notices what is wrong with it."""

    timeout = 30

    async def check(self, page: str) -> list[str | None]:
        """What is wrong with each command of a page."""
        terminal = Terminal.open(self, {"PATH": os.environ["PATH"]}, Path.cwd())
        return [await terminal.run(step) for step in steps(page)]

    async def test_right(self) -> None:
        """Output with and without wild cards, a here-document, a continued line, and a server that Ctrl-C ends."""
        page = """
    $ echo abc; echo def
    a…
    def
    $ cat <<'END'
    one

    two$x
    END
    …
    two$x

    $ echo a \\
        b
    a b
    here$ sh -c 'echo begins; exec sleep 1000'
    begins
    here$ ^C
    $ true
"""
        self.assertEqual(await self.check(page), [None] * 6)

    async def test_wrong(self) -> None:
        """Other output, more output, none, a status that is not 0, and a server that ends at once."""
        page = """
    $ echo abc
    abd
    $ echo abc; echo def
    abc
    $ echo abc
    $ true
    abc
    $ echo abc; false
    abc
    here$ echo ended
    begins
"""
        found = await self.check(page)
        self.assertEqual(
            found,
            ["abc\n(status 0)", "abc\ndef\n(status 0)", "abc\n(status 0)", "(status 0)", "abc\n(status 1)", "ended\n"],
        )
