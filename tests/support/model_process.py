"""A model as a process of its own: limited capacity, refusals, a ready URL, and absences, as a test tells it.

``python -m tests.support.model_process PORT`` listens on loopback. A line of JSON on its standard input changes its
behaviour, and is answered with a line of figures. :class:`tests.faults.models.ModelProcess` is the other end.

One process may be several models. The kind of a request is the id in its body up to the hyphen. A kind whose behaviour
was changed is a model of its own; all other kinds have one together.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver

#: The name of the model of all other kinds.
EVERY = "every"
_HEAD = re.compile(rb"^(\w+) (\S+) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb'"id": *"((\w+)-\w+)"')


@dataclass
class Behaviour:
    """What a model does with its calls.

    Attributes:
        slots: calls that it works on at a time; it refuses others.
        seconds: for one call.
        spread: share of ``seconds`` by which a call is shorter or longer, at most, at random.
        rate: calls that it begins in a second, evenly spread; it refuses others. 0 for no such limit.
        status: of a refusal.
        retry_after: value of ``Retry-After`` in refusals; empty for no such header.
        ready: the ready URL answers 200, else 503.
        refused: refuse each call of these ids.
    """

    slots: int = 8
    seconds: float = 0.05
    spread: float = 0.0
    rate: float = 0.0
    status: int = 429
    retry_after: str = ""
    ready: bool = True
    refused: tuple[str, ...] = ()


@dataclass
class Model:
    """A model with its figures.

    Attributes:
        running: calls that it works on now.
        most: the most that it worked on at a time.
        computed: number of answered or begun calls of each id.
        refusals: refused calls.
        asked: requests of its ready URL.
    """

    behaviour: Behaviour
    running: int = 0
    most: int = 0
    next_start: float = 0.0
    computed: Counter[str] = field(default_factory=Counter)
    refusals: int = 0
    asked: int = 0

    def takes(self, request: str) -> bool:
        """Take a call, or refuse it."""
        does, now = self.behaviour, reactor.seconds()
        if request in does.refused or self.running >= does.slots or (does.rate and now < self.next_start):
            self.refusals += 1
            return False
        if does.rate:
            # As nginx's limit_req without a burst: what was not used is not saved up.
            self.next_start = now + 1 / does.rate
        self.running += 1
        self.most = max(self.most, self.running)
        self.computed[request] += 1
        return True

    def seconds(self) -> float:
        """The time that a call takes."""
        does = self.behaviour
        return does.seconds * (1 + does.spread * random.uniform(-1, 1))


class Connection(Protocol):
    """HTTP/1.1 as the gateway speaks it: one request at a time, with a Content-Length."""

    server: Server

    def connectionMade(self) -> None:
        self._received = b""
        self._is_working = False
        self.is_to_close = False
        self.server.open.add(self)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.server.open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._received = rest[size:]
        line = _HEAD.match(head + b"\r\n")
        if line is None:
            self.transport.loseConnection()
        elif line[1] == b"GET":
            model = self.server.model(line[2].decode().partition("?kind=")[2] or EVERY)
            model.asked += 1
            self._answer(200 if model.behaviour.ready else 503, b"{}")
        else:
            self._call(rest[:size])

    def _call(self, body: bytes) -> None:
        found = _ID.search(body)
        request, kind = (found[1].decode(), found[2].decode()) if found else ("", EVERY)
        model = self.server.model(kind)
        if not model.takes(request):
            does = model.behaviour
            self._answer(does.status, b'{"said": "I am busy"}', does.retry_after)
            return
        self._is_working = True
        reactor.callLater(model.seconds(), self._finish, model, body)

    def _finish(self, model: Model, body: bytes) -> None:
        model.running -= 1
        self._is_working = False
        self._answer(200, body)

    def _answer(self, status: int, body: bytes, retry_after: str = "") -> None:
        lines = [f"HTTP/1.1 {status} -", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        if retry_after:
            lines.append(f"Retry-After: {retry_after}")
        if self.is_to_close:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""])
        self.transport.write(head.encode() + body)
        if self.is_to_close:
            self.transport.loseConnection()

    def close_when_idle(self) -> None:
        """Close now, or after the answer that is being made."""
        self.is_to_close = True
        if not self._is_working:
            self.transport.loseConnection()


class Server:
    """Listens, or does not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener: Any = None
        self._certificate = ""
        self._models: dict[str, Model] = {EVERY: Model(Behaviour())}
        self.open: set[Connection] = set()

    def model(self, kind: str) -> Model:
        """The model of a kind."""
        return self._models.get(kind, self._models[EVERY])

    def begin(self) -> None:
        """Listen, with TLS if there is a certificate."""
        factory = Factory.forProtocol(Connection)
        factory.noisy = False
        Connection.server = self
        arguments = {"interface": "127.0.0.1", "backlog": 500}
        if self._certificate:
            with open(self._certificate, "rb") as file:
                options = ssl.PrivateCertificate.loadPEM(file.read()).options()
            self._listener = reactor.listenSSL(self._port, factory, options, **arguments)
        else:
            self._listener = reactor.listenTCP(self._port, factory, **arguments)

    def end(self, *, at_once: bool) -> None:
        """Do not listen any more. At once: reset all connections, as if the process had been killed."""
        if self._listener is not None:
            self._listener.stopListening()
            self._listener = None
        for connection in list(self.open):
            if at_once:
                connection.transport.abortConnection()
            else:
                connection.close_when_idle()

    def change(self, kind: str = EVERY, up: bool | None = None, **behaviour: Any) -> None:
        """Change the behaviour of a kind; or of the process: ``up``, ``at_once``, ``certificate``."""
        at_once = behaviour.pop("at_once", False)
        self._certificate = behaviour.pop("certificate", self._certificate)
        if kind not in self._models:
            self._models[kind] = Model(self._models[EVERY].behaviour)
        model = self._models[kind]
        model.behaviour = replace(model.behaviour, **behaviour)
        if up is False:
            self.end(at_once=at_once)
        elif up and self._listener is None:
            self.begin()

    def figures(self) -> dict[str, Any]:
        """The figures of each kind."""
        return {
            kind: {"most": m.most, "refusals": m.refusals, "asked": m.asked, "computed": m.computed}
            for kind, m in self._models.items()
        }


class Control(LineReceiver):
    """Standard input and output."""

    delimiter = b"\n"

    def __init__(self, server: Server) -> None:
        self._server = server

    def lineReceived(self, line: bytes) -> None:
        self._server.change(**json.loads(line))
        self.sendLine(json.dumps(self._server.figures()).encode())

    def connectionLost(self, reason: Any = connectionDone) -> None:
        if reactor.running:
            reactor.stop()


if __name__ == "__main__":
    StandardIO(Control(Server(int(sys.argv[1]))))
    reactor.run()
