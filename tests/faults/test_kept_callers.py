"""The callers of the soak come to the right conclusions, at a gateway in memory that does what a test wants."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor, ssl
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.faults.kept_callers import KeptCallers, Way
from tests.faults.kept_ledger import PROBLEM, KeptLedger
from tests.faults.kept_model import answer_to
from tests.faults.lean_client import LeanClient
from tests.support.certificates import certificates
from tests.support.integration import client_tls

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.kept_ledger import Entry

KEYED, UNKEYED = Way("respond-async", key=True), Way("respond-async")


class FakeGateway(Resource):
    """Answers requests and keeps their answers.

    Attributes:
        said: what it does with the next requests: a status, "reset", or "" for its usual answer.
        kept: id, status and body of each request.
        change: changes what is fetched.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.said: list[int | str] = []
        self.kept: dict[str, bytes] = {}
        self.keys: dict[str, str] = {}
        self.change: Callable[[Any], Any] = lambda answer: answer
        self.fetches_pending = 0

    def render_POST(self, request: Any) -> bytes:
        body, key = request.content.read(), request.getHeader("idempotency-key")
        said = self.said.pop(0) if self.said else ""
        id_ = self.keys.setdefault(key, f"id-{len(self.kept)}") if key else f"id-{len(self.kept)}"
        if said == "reset":
            self.kept[id_] = body
            request.transport.abortConnection()
            return b""
        if said in (503, 404):
            request.setResponseCode(said)
            request.setHeader("Content-Type", PROBLEM)
            return json.dumps({"type": "urn:provider-gateway:problem:no-route", "status": said}).encode()
        self.kept[id_] = body
        request.setResponseCode(202)
        request.setHeader("Location", f"/v1/requests/{id_}")
        return b"{}"

    def render_GET(self, request: Any) -> bytes:
        _, _, _, id_, *more = request.path.decode().split("/")
        if id_ not in self.kept:
            request.setResponseCode(404)
            return b""
        if not more:
            return json.dumps({"status": "succeeded"}).encode()
        if self.fetches_pending:
            self.fetches_pending -= 1
            request.setResponseCode(202)
            return b"{}"
        answer = self.change(answer_to(self.kept[id_]))
        request.setResponseCode(answer.status)
        request.setHeader("Content-Type", answer.content_type)
        request.setHeader("X-Model", "test")
        return answer.body


class KeptCallersTests(TestCase):
    """One caller at a time."""

    def setUp(self) -> None:
        self.gateway, folder = FakeGateway(), certificates()
        pem = (folder / "server_cert.pem").read_bytes() + (folder / "server_key.pem").read_bytes()
        site = Site(self.gateway)
        site.noisy = False
        options = ssl.PrivateCertificate.loadPEM(pem).options()
        port = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.ledger, lean = KeptLedger(), LeanClient(client_tls())
        self.addCleanup(lean.close)
        self.callers = KeptCallers(self.ledger, lean, [port.getHost().port], random.Random(0))

    async def balances(self) -> None:
        await self.callers.fetch_all(5)
        self.ledger.check(self)

    async def send(self, way: Way, *said: int | str) -> Entry:
        self.gateway.said = list(said)
        return await self.callers.send(way, "bytes")

    async def test_told(self) -> None:
        """An answer that is pending at first is fetched later, and compared."""
        entry = await self.send(UNKEYED)
        self.gateway.fetches_pending = 2
        await self.balances()
        self.assertEqual((entry.fetched.total(), entry.state, set(entry.ids)), (1, "succeeded", {"id-0"}))

    async def test_unknown(self) -> None:
        """Without a key, a lost connection leaves the outcome unknown, and nothing is promised."""
        entry = await self.send(UNKEYED, "reset")
        self.assertEqual((entry.ids, entry.may_be_accepted), (set(), True))

    async def test_key(self) -> None:
        """With a key the caller goes on until there is an answer: one id, however often it was sent."""
        entry = await self.send(KEYED, "reset", 503, "reset")
        await self.balances()
        self.assertEqual((entry.ids, sum(self.callers.statuses.values())), ({"id-0"}, 4))

    async def test_refused(self) -> None:
        """503 refuses: if the model is called, it is wrong. Any other refusal is wrong at once."""
        entry = await self.send(UNKEYED, 503)
        self.assertFalse(entry.may_be_accepted)
        self.ledger.called({entry.request: 1})
        self.assertIn("it was refused", self.ledger.wrong[0])
        await self.send(UNKEYED, 404)
        self.assertEqual(len(self.ledger.wrong), 2)

    async def test_lost(self) -> None:
        """An answer that another request has, or that nobody knows, is found."""
        await self.send(UNKEYED)
        other = await self.callers.send(UNKEYED, "bytes")
        self.gateway.change = lambda _: answer_to(other.body)
        await self.callers.fetch_all(5)
        self.assertEqual(len(self.ledger.wrong), 1)
        entry = await self.send(UNKEYED)
        self.gateway.kept.clear()
        await self.callers.fetch_all(5)
        self.assertEqual((len(self.ledger.wrong), entry.fetched.total()), (2, 0))

    async def test_rate(self) -> None:
        """Requests go out at a steady rate until the callers are stopped."""
        running = self.callers.call(200)
        reactor.callLater(0.5, self.callers.stop)
        await running
        self.assertGreater(len(self.ledger.entries), 50)
        self.assertLess(len(self.ledger.entries), 150)
