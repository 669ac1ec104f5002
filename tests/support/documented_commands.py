"""Runs the commands that a page of docs/ shows, each in the terminal that its prompt names, and compares the output.

In indented blocks, a line ``NAME$ command`` is for the terminal NAME, and ``$ command`` for the reader's own. A command
goes on after a backslash, and up to the end of a here-document. ``^C`` is Ctrl-C. The lines below a command are its
output, in which ``…`` stands for anything. A command of a named terminal may go on once its output is there.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from twisted.trial.unittest import TestCase

_PROMPT = re.compile(r"(\w*)\$ (.*)")
_HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?$")
CTRL_C = "^C"
#: Seconds for one command, or for its output.
TIMEOUT = 90


@dataclass(frozen=True)
class Step:
    """A command of a page.

    Attributes:
        terminal: where it runs; empty for the reader's own.
        command: may have several lines.
        output: the lines that the page shows.
    """

    terminal: str
    command: str
    output: tuple[str, ...]


def steps(page: str) -> list[Step]:
    """The commands of a page, in its order."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    return [step for block in blocks for step in _steps_of([line[4:] for line in block.splitlines()])]


def _steps_of(lines: Sequence[str]) -> list[Step]:
    found: list[Step] = []
    waiting = list(lines)
    while waiting:
        prompt = _PROMPT.fullmatch(waiting.pop(0))
        if prompt is None:
            continue
        command = [prompt[2]]
        end = _HERE_DOCUMENT.search(prompt[2])
        while command[-1].endswith("\\") or (end is not None and command[-1] != end[1]):
            command.append(waiting.pop(0))
        output = []
        while waiting and _PROMPT.fullmatch(waiting[0]) is None:
            output.append(waiting.pop(0))
        while output and not output[-1]:
            output.pop()
        found.append(Step(prompt[1], "\n".join(command), tuple(output)))
    return found


def pattern(output: Sequence[str]) -> re.Pattern[str]:
    """What the output of a command looks like. A line that is ``…`` alone stands for any number of lines."""
    lines = ["(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in output]
    return re.compile("".join(lines))


class Terminal(Process):
    """A shell in which one command after the other runs."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._is_late = False

    @classmethod
    def open(cls, test: TestCase, environment: Mapping[str, str], folder: Path) -> Terminal:
        """Start a shell in a session of its own, so that Ctrl-C reaches its commands. It ends with the test."""
        terminal: Terminal = cls.start(test, ["/usr/bin/setsid", "/bin/bash"], dict(environment), folder)
        test.addCleanup(terminal.close)
        terminal.type("trap : INT")  # Ctrl-C ends the command, and not the shell
        return terminal

    def errReceived(self, data: bytes) -> None:
        self.outReceived(data)

    @property
    def pid(self) -> int:
        """The process of the shell, and its session and group."""
        assert self.transport is not None
        return int(self.transport.pid)

    def type(self, text: str) -> None:
        """Type a line."""
        transport: Any = self.transport
        transport.write(f"{text}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.pid, signal.SIGINT)

    async def run(self, step: Step) -> str | None:
        """Run a command until it ends, or until its output is there; returns what is wrong, or None.

        A command of a terminal without name has to end with status 0, and to have this output and no other.
        """
        if step.command == CTRL_C:
            self.interrupt()
            return None if await self._until(lambda: self._end() is not None) else "(it goes on)"
        begin, self._count = len(self.lines), self._count + 1
        self.type(f'{step.command}\necho "{self._mark}$?"')
        expected = pattern(step.output)
        if step.terminal and step.output:
            await self._until(lambda: expected.match(self._text(begin)) or self._end() is not None)
            return None if expected.match(self._text(begin)) else self._text(begin)
        await self._until(lambda: self._end() is not None)
        text = self._text(begin)
        return None if self._end() == 0 and expected.fullmatch(text) else f"{text}(status {self._end()})"

    async def _until(self, found: Callable[[], Any]) -> bool:
        """Wait until a function of the output is true; returns False if that takes too long."""
        from twisted.internet import reactor  # noqa: PLC0415 - the tests run on the global reactor

        late = reactor.callLater(TIMEOUT, self._give_up)
        self._is_late = False
        try:
            await self.when(lambda: self._is_late or found())
        finally:
            if late.active():
                late.cancel()
        return not self._is_late

    def _give_up(self) -> None:
        self._is_late = True
        self.outReceived(b"")  # looks again

    @property
    def _mark(self) -> str:
        return f"--- end of command {self._count}: "

    def _end(self) -> int | None:
        """The status of the last command, if it has ended."""
        ends = [line.partition(self._mark) for line in self.lines if self._mark in line]
        return int(ends[0][2]) if ends else None

    def _text(self, begin: int) -> str:
        """What the last command has written; a line without end gets one."""
        lines = []
        for line in self.lines[begin:]:
            before, mark, _ = line.partition(self._mark)
            if mark:
                lines += [before] if before else []
                break
            lines.append(line)
        return "".join(f"{line}\n" for line in lines)

    async def close(self) -> None:
        """End the command that runs, and the shell."""
        if self.ended is None:
            self.type("exit")
            self.interrupt()
            await self.when_ended()
