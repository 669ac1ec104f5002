"""Callers of the gateway who come back for their answers, through faults; a ledger records what they were told."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from tests.faults.callers import problem_of
from tests.faults.lean_client import LeanClient, NoResponse, NotSent
from tests.faults.ledger import fresh_id

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.faults.kept_ledger import Entry, KeptLedger, Reply

#: Seconds until a caller with a key tries again, and how often it does.
AGAIN, TRIES = 0.5, 240
#: Requests at a time; a caller who finds as many waits, as in any program.
IN_FLIGHT = 300
#: Answers that are fetched at a time.
FETCHERS = 40
_PATH = "/v1/requests/"


class Way(NamedTuple):
    """A way to send a request.

    Attributes:
        prefer: value of ``Prefer``; empty for none.
        key: send an Idempotency-Key, and try again until the outcome is known.
        webhook: name an endpoint.
        kinds: of requests that are sent so.
    """

    prefer: str = ""
    key: bool = False
    webhook: bool = False
    kinds: Sequence[str] = ("echo", "bytes", "empty", "rejected", "parked", "flaky", "slow")


#: Plain requests that wait for less than slow ones take: 504, with an id.
WAYS = (
    Way("respond-async"),
    Way("respond-async"),
    Way("respond-async", key=True),
    Way("respond-async", webhook=True),
    Way("respond-async, wait=1"),
    Way("wait=1", key=True),
    Way(),
    Way(key=True),
)


class KeptCallers:
    """Callers that send requests at a steady rate, and fetch the answers.

    Args:
        ports: of gateways; they are taken in turn, also for a new try and for fetching.
        ways: of sending, chosen at random.
        weights: how often each kind of request is chosen; 1 if a kind is not named.
        endpoint: name of the webhook endpoint.

    Attributes:
        statuses: count of each response to a request; 0 for none.
    """

    def __init__(
        self,
        ledger: KeptLedger,
        client: LeanClient,
        ports: Sequence[int],
        chance: random.Random,
        *,
        ways: Sequence[Way] = WAYS,
        weights: dict[str, float] | None = None,
        endpoint: str = "",
    ) -> None:
        self.statuses: Counter[str] = Counter()
        self._ledger = ledger
        self._client = client
        self._ports = ports
        self._chance = chance
        self._ways = [way for way in ways if endpoint or not way.webhook]
        self._weights = weights or {}
        self._endpoint = endpoint
        self._turn = 0
        self._in_flight = 0
        self._looping: LoopingCall | None = None
        self._done: Deferred[None] | None = None

    def call(self, rate: float) -> Deferred[None]:
        """Send so many requests a second until :meth:`stop`; the Deferred fires when each has its outcome."""
        done = self._done = Deferred()
        self._looping = LoopingCall.withCount(self._next)
        self._looping.start(1 / rate).addErrback(done.errback)
        return done

    def stop(self) -> None:
        """Send no more requests."""
        if self._looping is not None and self._looping.running:
            self._looping.stop()
            self._check_done()

    def _next(self, count: int) -> None:
        for _ in range(min(count, IN_FLIGHT - self._in_flight)):
            self._in_flight += 1
            Deferred.fromCoroutine(self.send(self._chance.choice(self._ways))).addBoth(self._sent)

    def _sent(self, result: Any) -> None:
        self._in_flight -= 1
        if hasattr(result, "raiseException") and self._done is not None:
            done, self._done = self._done, None
            done.errback(result)
        self._check_done()

    def _check_done(self) -> None:
        if not self._in_flight and self._done is not None and not (self._looping and self._looping.running):
            done, self._done = self._done, None
            done.callback(None)

    def port(self) -> int:
        """The next gateway's port."""
        self._turn += 1
        return self._ports[self._turn % len(self._ports)]

    async def send(self, way: Way, kind: str | None = None) -> Entry:
        """Send one request; with a key, until the outcome is known."""
        if kind is None:
            kind = self._chance.choices(way.kinds, [self._weights.get(each, 1.0) for each in way.kinds])[0]
        request = fresh_id(kind)
        entry = self._ledger.sent(request, key=way.key, has_deadline=not way.prefer, webhook=way.webhook)
        headers = {"Content-Type": "application/json", "routing-key": "predict.now", "RqUID": request}
        headers |= {"Prefer": way.prefer} if way.prefer else {}
        headers |= {"Idempotency-Key": f'"{request}"'} if way.key else {}
        headers |= {"Webhook": self._endpoint} if way.webhook else {}
        for _ in range(TRIES if way.key else 1):
            if await self._try(entry, headers):
                break
            await deferLater(reactor, AGAIN)
        return entry

    async def _try(self, entry: Entry, headers: dict[str, str]) -> bool:
        """Send a request once; returns whether its outcome is known."""
        try:
            reply = await self._client.ask(self.port(), "POST", "/v1/predict", headers, entry.body)
        except NotSent:
            entry.said.append("refused")
            self.statuses["refused"] += 1
            return False
        except NoResponse:
            entry.said.append("lost")
            self.statuses["lost"] += 1
            entry.may_be_accepted = True
            return False
        problem = problem_of(reply.body) if reply.status >= 400 else None
        entry.said.append(f"{reply.status} {problem or ''}".strip())
        self.statuses[entry.said[-1]] += 1
        if "Prefer" in headers and problem == "deadline-passed":
            self._ledger.wrong.append(f"{entry.request}: 504 in place of 202")
        location = reply.headers.get("location", "")
        if location.startswith(_PATH):
            # 409 names the request that has the key, and promises nothing.
            self._ledger.tell(entry, location.removeprefix(_PATH), promised=reply.status != 409)
            return reply.status != 409 and problem != "outcome-unknown"
        if reply.status in (500, 504):
            entry.may_be_accepted = True
            return False
        if (problem is not None and reply.status < 500) or reply.status == 202:
            self._ledger.wrong.append(f"{entry.request}: {reply.status} {reply.body[:200]!r}")
        elif reply.status != 503:
            self._ledger.answered(entry, reply)
        return reply.status != 503

    async def fetch_all(self, seconds: float) -> None:
        """Fetch all answers, from any gateway, until each one is final; at most for so many seconds."""
        ends = reactor.seconds() + seconds
        tokens = DeferredSemaphore(FETCHERS)
        fetching = [
            tokens.run(lambda id_=id_: Deferred.fromCoroutine(self.fetch(id_, ends - reactor.seconds())))
            for id_, entry in list(self._ledger.told.items())
            if not entry.fetched[id_]
        ]
        await gatherResults(fetching, consumeErrors=True)

    async def fetch(self, id_: str, seconds: float, wait: int = 0) -> bool:
        """Fetch the answer of a request, and then its status, within so many seconds; returns whether it was final.

        Args:
            wait: ask the gateway to wait for the answer for so many seconds.
        """
        entry, ends = self._ledger.told[id_], reactor.seconds() + seconds
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        while (reply := await self._get(f"{_PATH}{id_}/result", ends, headers)) is None or reply.status == 202:
            if reactor.seconds() > ends:
                if reply is not None:
                    self._ledger.ended(entry, "pending", id_)
                return False
            await deferLater(reactor, AGAIN)
        status = await self._get(f"{_PATH}{id_}", ends)
        if status is None:
            return False
        if status.status != 200:
            self._ledger.wrong.append(f"{entry.request} ({id_}): {status.status} {status.body[:200]!r}")
            return False
        state = json.loads(status.body)["status"]
        self._ledger.ended(entry, state, id_)
        self._ledger.fetched(entry, state, reply, id_)
        return True

    async def _get(self, path: str, ends: float, headers: dict[str, str] | None = None) -> Reply | None:
        """GET from any gateway, again while it or its store is away, until a point in time; None if it stayed away."""
        while True:
            try:
                reply = await self._client.ask(self.port(), "GET", path, headers or {})
            except (NotSent, NoResponse):
                reply = None
            if reply is not None and reply.status != 503:
                return reply
            if reactor.seconds() > ends:
                return None
            await deferLater(reactor, AGAIN)
