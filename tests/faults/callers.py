"""Load over HTTPS that continues through faults: callers that record the outcome of each request in a ledger."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.task import LoopingCall

from tests.faults.ledger import Outcome, fresh_id, id_in

if TYPE_CHECKING:
    from tests.faults.ledger import Ledger

#: Seconds that a caller waits for a response.
PATIENCE = 60

_PROBLEM = "urn:provider-gateway:problem:"


class HTTPCallers:
    """Callers that send requests at a steady rate, without waiting for earlier responses.

    Args:
        client: treq's HTTP client, with a client certificate.
        urls: addresses of gateways without a path (``https://localhost:5050``), called in turn.
        rate: requests per second.
        path: with ``/v1/publish``, 202 means confirmed, and the reply goes to the output queue.

    Attributes:
        answers: status (0: no response) and seconds of each call, in the order in which they ended.
        problems: count of each problem type, by the last part of its name.
    """

    def __init__(
        self,
        ledger: Ledger,
        client: Any,
        *urls: str,
        rate: float = 40,
        path: str = "/v1/predict",
        routing_key: str = "predict.now",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.answers: list[tuple[int, float]] = []
        self.problems: Counter[str] = Counter()
        self._ledger = ledger
        self._client = client
        self._urls = [url + path for url in urls]
        self._interval = 1 / rate
        self._headers = {"Content-Type": "application/json", "routing-key": routing_key, **(headers or {})}
        self._calls = 0
        self._in_flight = 0
        self._looping: LoopingCall | None = None
        self._done: Deferred[None] | None = None

    @property
    def statuses(self) -> Counter[int]:
        """Count of each status; 0 stands for a failed connection."""
        return Counter(status for status, _ in self.answers)

    def call(self, count: int | None = None) -> Deferred[None]:
        """Make this many calls, or call until :meth:`stop`; the Deferred fires when all are answered. Not reentrant."""
        last = None if count is None else self._calls + count
        done = self._done = Deferred()
        self._looping = LoopingCall(self._next, last)
        self._looping.start(self._interval).addErrback(done.errback)
        return done

    def stop(self) -> None:
        """Make no more calls."""
        if self._looping is not None and self._looping.running:
            self._looping.stop()
            self._check_done()

    def _next(self, last: int | None) -> None:
        self._in_flight += 1
        url = self._urls[self._calls % len(self._urls)]
        self._calls += 1
        Deferred.fromCoroutine(self._call(url)).addErrback(self._broken)
        if self._calls == last:
            self.stop()

    def _broken(self, failure: Any) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done.errback(failure)

    async def _call(self, url: str) -> None:
        request = fresh_id("http")
        self._ledger.sent(request)
        started = reactor.seconds()
        try:
            status, body = await self._post(url, request)
        except NobodyListens:
            status, outcome = 0, Outcome.REFUSED
        except Exception:  # noqa: BLE001 - any error of the connection means that the outcome is unknown
            status, outcome = 0, Outcome.UNKNOWN
        else:
            outcome = outcome_of(status, body)
            self._read_problem(body)
            if outcome is Outcome.CONFIRMED and status != 202:
                self._ledger.replied(request, status, belongs=id_in(body) in (request, None))
        self._ledger.settled(request, outcome)
        self.answers.append((status, reactor.seconds() - started))
        self._in_flight -= 1
        self._check_done()

    async def _post(self, url: str, request: str) -> tuple[int, bytes]:
        data = json.dumps({"id": request}).encode()
        headers = {**self._headers, "RqUID": request}
        response = await self._client.post(url, data=data, headers=headers, timeout=PATIENCE)
        return response.code, await response.content()

    def _read_problem(self, body: bytes) -> None:
        if problem := problem_of(body):
            self.problems[problem] += 1

    def _check_done(self) -> None:
        if not self._in_flight and self._done is not None and not (self._looping and self._looping.running):
            done, self._done = self._done, None
            done.callback(None)


def problem_of(body: bytes) -> str | None:
    """The last part of the problem type, if the body is a problem document of the gateway."""
    try:
        kind = json.loads(body)["type"]
    except (ValueError, TypeError, KeyError):
        return None
    return kind.removeprefix(_PROBLEM) if isinstance(kind, str) and kind.startswith(_PROBLEM) else None


def outcome_of(status: int, body: bytes) -> Outcome:
    """Whether a response means confirmed, refused or unknown; a 4xx without a problem of ours is the model's."""
    if status in (500, 504):
        return Outcome.UNKNOWN
    if status == 503 or (400 <= status < 500 and problem_of(body)):
        return Outcome.REFUSED
    return Outcome.CONFIRMED
