"""A real terminal (a pty) for a command: what it writes, and keys that are pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.processes import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.trial.unittest import TestCase

CTRL_C, CTRL_D = b"\x03", b"\x04"


class OnTerminal(Process):
    """A command whose standard input, output and error are one terminal.

    Attributes:
        written: all that it has written, as text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = ""

    @classmethod
    def start(cls, test: TestCase, command: Sequence[str], environment: dict[str, str], cwd: Any = None) -> Any:
        """Start a command. If it still runs when the test ends, it is killed."""
        from twisted.internet import reactor  # noqa: PLC0415 - the tests run on the global reactor

        process = cls()
        reactor.spawnProcess(process, command[0], command, env=environment, path=str(cwd) if cwd else None, usePTY=True)
        test.addCleanup(process.kill)
        return process

    def outReceived(self, data: bytes) -> None:
        self.written += data.decode(errors="surrogateescape")
        super().outReceived(data)

    def press(self, keys: bytes) -> None:
        """Press keys; Ctrl-C and the like do what the terminal's settings say."""
        assert self.transport is not None
        self.transport.write(keys)

    async def shows(self, text: str) -> None:
        """Wait until it has written a text."""
        await self.when(lambda: text in self.written)
