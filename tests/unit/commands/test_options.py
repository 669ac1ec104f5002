"""The command line: options, help, and how mistakes are told."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from provider_gateway import __version__
from provider_gateway.commands import main, parking
from provider_gateway.commands.main import commands, status_of
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.errors import SettingsError
from provider_gateway.parking.filters import Filter
from tests.support.folders import ROOT
from tests.unit.commands.base import HOSTILE, CommandTestCase


class CommandLineTestCase(CommandTestCase):
    """Parses command lines; nothing of them is run."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Any] = []

        def note(asked: Any, _work: Any) -> int:
            self.asked.append(asked)
            return 0

        self.patch(parking, "_run", note)

    def status(self, *arguments: str) -> int:
        return status_of(list(arguments))


class OptionsTests(CommandLineTestCase):
    """Options that are understood."""

    def test_filter(self) -> None:
        """Every condition reaches the filter; reasons and ids may be repeated."""
        ids = ["0" * 32, "f" * 32]
        for name in ("list", "show", "replay", "drop", "export"):
            given = f"""parking {name} --queue fib --reason timeout --reason status --id {ids[0]} --id {ids[1]}
                --rquid r --identity me --since 2026-01-31T08:00Z --older-than 2026-02-01 --grep "a b" --limit 7"""
            self.assertEqual(0, self.status(*shlex.split(given)), self.err.text())
            asked = self.asked.pop()
            self.assertEqual("fib", asked.queue)
            self.assertEqual(
                Filter(
                    ids=frozenset(ids), reasons=frozenset(["timeout", "status"]), rquid="r", identity="me",
                    since=1769846400.0, before=1769904000.0, grep="a b", limit=7,
                ),
                asked.filter,
            )  # fmt: skip

    def test_nothing_given(self) -> None:
        """Without options there is no condition, and the output is for a program unless it is a terminal."""
        self.status("parking", "list")
        asked = self.asked.pop()
        self.assertEqual((None, Filter(), True), (asked.queue, asked.filter, asked.is_plain))
        self.out.isatty = lambda: True  # type: ignore[method-assign]
        self.status("parking", "list")
        self.status("parking", "list", "-o", "json")
        self.assertEqual([False, True], [each.is_plain for each in self.asked])

    def test_mistakes(self) -> None:
        """Each mistake is told by the option's name, with status 2; an empty value is one: it must not mean "all"."""
        for option, value, part in (
            *(
                (option, "", f"{option}: expected")
                for option in ("--rquid", "--identity", "--grep", "--reason", "--queue")
            ),
            *((option, "", f"{option}: ") for option in ("--id", "--since", "--older-than", "--limit")),
            ("--limit", "0", "--limit: expected a whole number from 1"),
            ("--limit", "-1", "--limit: expected a whole number from 1"),
            ("--since", "soon", "--since: expected a time ago, such as 30m"),
            ("--older-than", "2 h", "--older-than: expected"),
            ("--grep", "(", "--grep: expected a regular expression of RE2"),
            ("--id", "0a", "--id: an id is 32 hexadecimal digits"),
            ("--rate", "0", "--rate: expected a number above 0"),
            ("--rate", "inf", "--rate: expected a number above 0"),
            ("--rate", "nan", "--rate: expected a number above 0"),
            ("--rate", "x", "--rate"),
            ("--why", "x" * 1001, "--why: expected at most 1000 characters"),
            ("--output", "xml", "xml"),
            ("--nope", "x", "--nope"),
        ):
            self.assertEqual(Status.USAGE, self.status("parking", "drop", f"{option}={value}"), option)
            self.assertIn(part, self.err.text().splitlines()[-1])
        self.assertEqual([], self.asked)

    def test_arguments(self) -> None:
        """An argument that nobody asked for is a mistake: "drop fib" must not drop another queue."""
        for name in ("list", "show", "replay", "drop", "export"):
            self.assertEqual(Status.USAGE, self.status("parking", name, "fib"))
        self.assertEqual([], self.asked)

    def test_hostile(self) -> None:
        """A mistake quotes what was given without doing to the terminal what it says."""
        for arguments in (
            (HOSTILE,), ("parking", HOSTILE), ("parking", "list", HOSTILE), ("parking", "list", f"--{HOSTILE}"),
            ("parking", "list", "--id", HOSTILE), ("parking", "list", "--limit", HOSTILE),
            ("parking", "list", "-o", HOSTILE), ("parking", "drop", "--rate", HOSTILE),
        ):  # fmt: skip
            self.assertEqual(Status.USAGE, self.status(*arguments), arguments)
        self.assert_safe(self.err.text())


class HelpTests(CommandLineTestCase):
    """Help."""

    def test_every_command(self) -> None:
        """Each command has help with examples, and every example is a command line that is understood."""
        examples = []
        for path in (
            (),
            ("parking",),
            ("check",),
            ("openapi",),
            *(("parking", name) for name in parking.parking.commands),
        ):
            self.assertEqual(0, self.status(*path, "--help"))
            self.assertEqual(0, self.status(*path, "-h"))
        text = self.out.text()
        examples = re.findall(r"^    (provider-gateway parking .*)$", text, re.MULTILINE)
        self.assertGreater(len(examples), 20)
        for example in set(examples):
            words = shlex.split(re.split(" [|>] ", example)[0])
            self.assertEqual(0, self.status(*words[1:]), example)

    def test_options_are_explained(self) -> None:
        """No option is without a sentence."""
        for command in (*parking.parking.commands.values(), *commands.commands.values()):
            for option in command.params:
                assert isinstance(option, click.Option)
                self.assertTrue(option.help, option.name)

    def test_no_arguments(self) -> None:
        """Without a command, the help is shown."""
        self.status()
        self.assertIn("Commands:\n  check ", self.err.text() + self.out.text())

    def test_version(self) -> None:
        """The version, as twistd gives it."""
        self.assertEqual(0, self.status("--version"))
        self.assertEqual(f"provider-gateway {__version__}\n", self.out.text())


class EndsTests(CommandLineTestCase):
    """How a command ends."""

    def ends_with(self, error: BaseException) -> tuple[int, str]:
        def run(_asked: Any, _work: Any) -> int:
            raise error

        self.patch(parking, "_run", run)
        before = len(self.err.text())
        return self.status("parking", "list"), self.err.text()[before:]

    def test_errors(self) -> None:
        """Each error is one line that is safe to show, with its status; a bug alone has a traceback."""
        for error, status, text in (
            (SettingsError("RMQ_URL: is required"), 1, "provider-gateway: RMQ_URL: is required\n"),
            (SettingsError("a\x1b[2J"), 1, "provider-gateway: a\\x1b[2J\n"),
            (Ended("somebody", Status.BUSY), 4, "provider-gateway: somebody\n"),
            (KeyboardInterrupt(), 130, "\n\nprovider-gateway: interrupted; nothing was done\n"),
            (BrokenPipeError(), 141, ""),
            (OSError(28, "No space left on device"), 1, "provider-gateway: [Errno 28] No space left on device\n"),
        ):
            self.assertEqual((status, text), self.ends_with(error))
        status, text = self.ends_with(ValueError("b\x1b[2J"))
        self.assertEqual(1, status)
        self.assertIn("Traceback", text)
        self.assert_safe(text)

    def test_commands_of_twistd(self) -> None:
        """``check`` and ``openapi`` are twistd's: the process becomes it, with the options that it was given."""
        became: list[list[str]] = []
        self.patch(main.os, "execv", lambda _file, command: became.append(command))
        files = ["--queues", "q.yaml", "--env-file", "e.env"]
        for arguments in (
            ["check"],
            ["check", "--connect", "--role", "provider", *files],
            ["openapi"],
            ["openapi", *files],
        ):
            self.status(*arguments)
            command = became.pop()
            self.assertEqual([sys.executable, "-P"], command[:2])
            given = command[command.index("provider-gateway") :]
            self.assertEqual(["provider-gateway", f"--{arguments[0]}", *arguments[1:]], given)


class CompletionTests(CommandLineTestCase):
    """What bash offers."""

    def complete(self, *words: str) -> list[str]:
        from click.shell_completion import BashComplete  # noqa: PLC0415

        completion = BashComplete(commands, {}, "provider-gateway", "_PROVIDER_GATEWAY_COMPLETE")
        *before, incomplete = words
        return [each.value for each in completion.get_completions(before, incomplete)]

    def test_commands(self) -> None:
        """Commands and options."""
        self.assertEqual(["check", "openapi", "parking"], self.complete(""))
        self.assertEqual(["replay"], self.complete("parking", "re"))
        self.assertEqual(["--dry-run"], self.complete("parking", "replay", "--dr"))

    def test_values(self) -> None:
        """Queues of the queue file and reasons; without a queue file that can be read, no queues and no error."""
        path = Path(self.mktemp())
        path.write_text("[{topic: T, queueName: fib, bindingKey: f}, {topic: T, queueName: other, bindingKey: o}]")
        self.assertEqual(["fib"], self.complete("parking", "list", "--queues", str(path), "--queue", "f"))
        path.write_text("{")
        self.assertEqual([], self.complete("parking", "list", "--queues", str(path), "--queue", "f"))
        self.assertEqual(["timeout", "too-large"], self.complete("parking", "list", "--reason", "t"))


class DocumentationTests(CommandTestCase):
    """docs/parking.md."""

    def test_options(self) -> None:
        """The page has every command, every option with the commands that take it, and every exit status."""
        page = (ROOT / "docs" / "parking.md").read_text(encoding="utf-8")
        subcommands = parking.parking.commands
        for name in subcommands:
            self.assertIn(f"\n| `{name}` | ", page)
        users: dict[str, list[str]] = {}
        for name, command in subcommands.items():
            for option in command.params:
                users.setdefault(option.opts[-1], []).append(name)
        for option, names in users.items():
            (row,) = [
                line for line in page.splitlines() if line.startswith("| `--") and f"`{option}`" in line.split("|")[1]
            ]
            told = row.split("|")[2]
            self.assertEqual(
                set(names), set(subcommands) if told == " all " else set(re.findall("[a-z]+", told)), option
            )
        for status in Status:
            self.assertRegex(page, rf"\n\| (\d+, )*{status.value}(, \d+)* \| ")
