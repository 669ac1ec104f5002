"""The protocol between supervisor and worker: lines of JSON over two pipes.

The supervisor sends ``{"ask": "waiting_for" | "degraded" | "metrics", "id": 7}`` and ``{"do": "reload"}``. The worker
sends ``{"say": "started"}``, ``{"say": "running"}`` and ``{"id": 7, "answer": …}``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from provider_gateway.workers.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


class Questions:
    """The supervisor's end of the two pipes.

    Args:
        write: sends bytes to the worker.
        said: called with "started" when the worker runs, with "running" when its start is complete.

    Attributes:
        receive: takes bytes that the worker has sent.
    """

    def __init__(self, write: Callable[[bytes], object], said: Callable[[str], object]) -> None:
        self._write = write
        self._said = said
        self._open: dict[int, Deferred[Any]] = {}
        self._last = 0
        self.receive = Lines(self._document).feed

    def ask(self, what: str, clock: IReactorTime, seconds: float) -> Deferred[Any]:
        """Ask the worker.

        Args:
            what: "waiting_for", "degraded" or "metrics".
            seconds: to wait for the answer.

        Returns:
            A Deferred of the answer. It fails with twisted.internet.defer.TimeoutError after ``seconds``, and with
            CancelledError when the worker has ended.
        """
        self._last += 1
        number = self._last
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._open[number] = answer
        self._write(_line({"ask": what, "id": number}))
        return answer.addTimeout(seconds, clock)

    def reload(self) -> None:
        """Have the worker read changed files again."""
        self._write(_line({"do": "reload"}))

    def close(self) -> None:
        """Fail the Deferreds of all open questions with CancelledError."""
        for answer in list(self._open.values()):
            answer.cancel()

    def _forget(self, number: int) -> None:
        self._open.pop(number, None)

    def _document(self, line: bytes) -> None:
        document = json.loads(line)
        if "say" in document:
            self._said(document["say"])
        elif (waiting := self._open.pop(document["id"], None)) is not None:  # None: the answer is late
            waiting.callback(document["answer"])


class Answers(Protocol):
    """The worker's end of the two pipes.

    Args:
        answers: functions that make the answers, by what is asked.
        reload: reads changed files again.
        on_lost: called when the supervisor has ended.
    """

    def __init__(
        self, answers: dict[str, Callable[[], Any]], reload: Callable[[], object], on_lost: Callable[[], object]
    ) -> None:
        self._answers = answers
        self._reload = reload
        self._on_lost = on_lost
        self._lines = Lines(self._document)

    def connectionMade(self) -> None:
        """Say "started" (twisted.internet.interfaces.IProtocol)."""
        self.say("started")

    def say(self, what: str) -> None:
        """Tell the supervisor "started" or "running"."""
        self._send({"say": what})

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of the supervisor (twisted.internet.interfaces.IProtocol)."""
        self._lines.feed(data)

    def _document(self, line: bytes) -> None:
        document = json.loads(line)
        if "ask" in document:
            self._send({"id": document["id"], "answer": self._answers[document["ask"]]()})
        else:
            self._reload()

    def _send(self, document: dict[str, Any]) -> None:
        assert self.transport is not None
        self.transport.write(_line(document))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override] # Twisted gives it a default
        """The supervisor has ended (twisted.internet.interfaces.IProtocol)."""
        del reason
        self._on_lost()
