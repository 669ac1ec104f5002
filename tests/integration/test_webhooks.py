"""Webhooks from real processes, over a real RabbitMQ, to real endpoints, which verify them as their library does."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from standardwebhooks import Webhook, WebhookVerificationError
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from provider_gateway.demo.certificates import make_certificates
from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.processes import Process

if TYPE_CHECKING:
    from tests.support.processes import Gateway

ROOT = Path(__file__).parents[2]


def new_secret() -> str:
    """A secret as Standard Webhooks has it."""
    return f"whsec_{base64.b64encode(os.urandom(32)).decode()}"


class Receiver(Resource):
    """Endpoints by path; each answers as its path says, and keeps what it gets.

    Attributes:
        got: path, body and headers of each request.
        statuses: status of the next answers at ``/next``; then 200.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[str, bytes, dict[str, str]]] = []
        self.statuses: list[int] = []
        self._waiting: list[tuple[str, int, Deferred[Any]]] = []

    def of(self, path: str) -> list[tuple[bytes, dict[str, str]]]:
        return [(body, headers) for at, body, headers in self.got if at == path]

    def when(self, path: str, count: int = 1) -> Deferred[Any]:
        """A Deferred that fires when a path has had this many requests."""
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((path, count, waiting))
        self._tell()
        return waiting

    def _tell(self) -> None:
        for each in list(self._waiting):
            path, count, waiting = each
            if len(self.of(path)) >= count:
                self._waiting.remove(each)
                waiting.callback(None)

    def render_POST(self, request: Any) -> Any:
        path = request.path.decode()
        headers = {name.decode().lower(): v[0].decode() for name, v in request.requestHeaders.getAllRawHeaders()}
        self.got.append((path, request.content.read(), headers))
        status = self.statuses.pop(0) if path == "/next" and self.statuses else 200
        if path == "/redirect":
            status = 307
            request.setHeader("Location", "/internal")
        elif path == "/gone":
            status = 410
        request.setResponseCode(status)
        if status == 429:
            request.setHeader("Retry-After", "7")
        reactor.callLater(0, self._tell)
        if path == "/hang":
            return NOT_DONE_YET
        if path == "/endless":
            request.notifyFinish().addErrback(lambda _: None)
            self._pour(request)
            return NOT_DONE_YET
        return b"the body does not matter"

    def _pour(self, request: Any) -> None:
        if request.channel is not None:
            request.write(b"x" * 10_000)
            reactor.callLater(0.05, self._pour, request)


class WebhooksTests(IntegrationTestCase):
    """One gateway for each test, with an access file that names all endpoints of the receiver."""

    async def setUp(self) -> None:
        await super().setUp()
        self.receiver = Receiver()
        self.secret = new_secret()
        self.file("secret", self.secret)
        self.url = f"https://localhost:{self.listen()}"

    def listen(self, interface: str = "127.0.0.1") -> int:
        """Serve the receiver with a certificate for localhost; returns the port."""
        folder = certificates()
        pem = (folder / "server_cert.pem").read_bytes() + (folder / "server_key.pem").read_bytes()
        site = Site(self.receiver)
        site.noisy = False
        port = reactor.listenSSL(0, site, ssl.PrivateCertificate.loadPEM(pem).options(), interface=interface)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        for suffix in ("", ".parking", *(f".retry.{tier}" for tier in ("5s", "30s", "5m", "30m", "2h"))):
            channel.queue_delete(f"{self.output}.webhooks{suffix}")
        channel.queue_delete(f"{self.output}.results")
        for suffix in ("done", "canceled"):
            channel.exchange_delete(f"{self.output}.{suffix}")

    def file(self, name: str, text: str) -> str:
        """Write a file of the access file's folder, by renaming as an orchestrator does."""
        new = self.folder / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        new.rename(self.folder / name)
        return name

    def write_access(self, **endpoints: dict[str, Any]) -> str:
        """Write the access file. Each endpoint has the receiver's URL, secret and CA, unless it says otherwise."""
        webhooks = {
            name: {
                "url": f"{self.url}/{name}",
                "secretFiles": ["secret"],
                "cacert": str(certificates() / "cacert.pem"),
                **values,
            }
            for name, values in endpoints.items()
        }
        rule = {"identities": ["*"], "routingKeys": ["#"], "webhooks": webhooks}
        return str((self.folder / self.file("access.yaml", yaml.safe_dump([rule]))).resolve())

    async def begin(self, **endpoints: dict[str, Any]) -> Gateway:
        store = f"sqlite://{(self.folder / 'results.db').resolve()}"
        gateway: Gateway = await self.start(HTTP_ACCESS=self.write_access(**endpoints), RESULT_STORE=store).ready()
        return gateway

    async def ask(self, gateway: Gateway, name: str) -> str:
        """Send an asynchronous request that names an endpoint; returns its id."""
        response, document = await self.post(gateway, [1], Prefer="respond-async", Webhook=name)
        self.assertEqual(202, response.code, document)
        return str(document["id"])

    async def test_retried_and_rotated(self) -> None:
        """A try that fails is repeated with the same id and a new time; all listed secrets sign; changes are loaded."""
        old, self.secret = self.secret, new_secret()
        self.file("second", self.secret)
        self.receiver.statuses = [500]
        gateway = await self.begin(next={"secretFiles": ["secret", "second"]})
        id_ = await self.ask(gateway, "next")
        await self.receiver.when("/next", 2)
        (body, first), (again, second) = self.receiver.of("/next")
        self.assertEqual((body, first["webhook-id"]), (again, second["webhook-id"]))
        self.assertLess(int(first["webhook-timestamp"]), int(second["webhook-timestamp"]))
        for secret in (old, self.secret):
            event = Webhook(secret).verify(again, second)
            self.assertEqual((id_, "succeeded"), (event["data"]["id"], event["data"]["status"]))
            self.assertEqual(f"/v1/requests/{id_}/result", event["data"]["result"])
        self.assertRaises(WebhookVerificationError, Webhook(new_secret()).verify, again, second)
        self.assertRaises(WebhookVerificationError, Webhook(old).verify, again + b" ", second)
        # The secret's file changes, and then the URL.
        self.file("second", newest := new_secret())
        await gateway.logged("access file: loaded again")
        await self.ask(gateway, "next")
        await self.receiver.when("/next", 3)
        body, headers = self.receiver.of("/next")[-1]
        Webhook(newest).verify(body, headers)
        self.assertRaises(WebhookVerificationError, Webhook(self.secret).verify, body, headers)
        self.write_access(next={"url": f"{self.url}/moved"})
        await gateway.when(lambda: sum("access file: loaded again" in each["message"] for each in gateway.log) > 1)
        await self.ask(gateway, "next")
        await self.receiver.when("/moved")
        Webhook(old).verify(*self.receiver.of("/moved")[0])

    async def test_kinds_of_failure(self) -> None:
        """Each kind of failure is logged with its reason; none keeps another endpoint's webhook from being sent."""
        others = Path(self.mktemp())
        make_certificates(others)
        gateway = await self.begin(
            redirect={},
            gone={},
            endless={},
            hang={},
            good={},
            ca={"cacert": str((others / "cacert.pem").resolve())},
            system={"cacert": None},
            host={"url": f"https://127.0.0.2:{self.listen('127.0.0.2')}/host"},
            refused={"url": "https://localhost:1/"},
            dns={"url": "https://nobody.invalid/"},
        )
        for name in ("hang", "redirect", "gone", "endless", "ca", "host", "refused", "dns", "system"):
            await self.ask(gateway, name)
        id_ = await self.ask(gateway, "good")
        await self.receiver.when("/good")
        body, headers = self.receiver.of("/good")[0]
        self.assertEqual(id_, Webhook(self.secret).verify(body, headers)["data"]["id"])
        for name, reason in (
            ("redirect", "HTTP status 307: redirects are not followed"),
            ("ca", "TLS:"),
            ("host", "not for 127.0.0.2"),
            ("refused", "refused"),
            ("dns", "nobody.invalid"),
            ("system", "TLS:"),
        ):
            line = await gateway.logged(f"The webhook endpoint {name} ")
            self.assertIn(reason, line["message"])
        parked = await gateway.logged("A webhook is parked")
        self.assertIn("HTTP status 410", parked["message"])
        _, metrics = await self.admin(gateway, "/metrics")
        for sample in ('total{result="redirect"} 1.0', 'total{result="gone"} 1.0', 'parked_total{reason="gone"} 1.0'):
            self.assertIn(f"provider_gateway_webhooks_{sample}", metrics)
        self.assertEqual(
            [], [path for path, *_ in self.receiver.got if path in ("/internal", "/ca", "/host", "/system")]
        )
        self.assertNotIn(self.secret.removeprefix("whsec_"), repr(gateway.log))

    async def test_unknown_name(self) -> None:
        """A name that the access file does not have is answered with 400; the model is not called."""
        gateway = await self.begin(good={})
        response, problem = await self.post(gateway, [1], Prefer="respond-async", Webhook="nope")
        self.assertEqual((400, []), (response.code, self.model.requests))
        self.assertIn("'nope'", problem["detail"])

    async def test_killed(self) -> None:
        """SIGKILL during a call loses no webhook: the next process sends it."""
        gateway = await self.begin(hang={})
        await self.ask(gateway, "hang")
        await self.receiver.when("/hang")
        gateway.signal("KILL")
        await gateway.when_ended()
        await self.begin(hang={})
        await self.receiver.when("/hang", 2)
        self.assertEqual(1, len({headers["webhook-id"] for _, headers in self.receiver.of("/hang")}))

    async def test_example(self) -> None:
        """The receiver in ``examples`` accepts our webhooks, and says where the result is."""
        command = [
            sys.executable,
            str(ROOT / "examples/webhook_receiver.py"),
            str((self.folder / "secret").resolve()),
            "0",
        ]
        example: Process = Process.start(self, command, {"PATH": "/usr/bin:/bin"}, self.folder)
        await example.when(lambda: example.lines)
        port = example.lines[0].split()[1]
        gateway = await self.begin(example={"url": f"http://127.0.0.1:{port}/"})
        id_ = await self.ask(gateway, "example")
        await example.when(lambda: f"prediction.succeeded /v1/requests/{id_}/result" in example.lines)
