"""Each entry's own model: where its calls go, what they carry, and what entries share."""

from __future__ import annotations

from typing import Any

from provider_gateway.config.settings import Settings
from provider_gateway.security.credentials import load_credentials
from tests.support.model_peer import ModelTransport, response
from tests.support.observability import collect_log, counted
from tests.support.queue_entries import entry
from tests.unit.provider.role_base import RoleTestCase

FRAUD = {
    "url": "http://127.0.0.1:9001/fraud?key=hunter222",
    "headers": {"X-Key": "${TOKEN}", "Authorization": "Bearer ${TOKEN}"},
    "readyUrl": "/ready",
}


class OwnModelsTests(RoleTestCase):
    """A provider role on the embedded broker; the test is all models."""

    def setUp(self) -> None:
        super().setUp()
        self.logged = collect_log(self)
        entries = [
            entry("plain"),
            entry("fraud", bindingKey="fraud", model=FRAUD),
            entry("twin", bindingKey="twin", model=FRAUD),
            entry("image", bindingKey="image", model={"url": "http://127.0.0.1:9002/"}),
            entry("away", bindingKey="away", model={**FRAUD, "readyUrl": "http://127.0.0.1:9003/ready"}),
            entry("named", bindingKey="named", model={"name": "m", "headers": {"X-Key": "k"}}, readyUrl="/named"),
        ]
        settings = Settings(
            _env_file=None,
            rmq_url="amqp://rabbitmq/",
            model_url="http://127.0.0.1:8080/predict",
            model_ready_url="/all",
        )
        credentials = load_credentials(
            self.clock, settings, ["provider"], self.metrics, self.clock.seconds,
            entries=entries, variables={"TOKEN": "t0-secret"},
        )  # fmt: skip
        assert credentials.model is not None
        self.role = self.open_role(entries, settings, tls=credentials.model, model_credentials=credentials.models)

    def accept(self, port: int) -> ModelTransport:
        """Accept the newest connection, which is to this port."""
        self.assertEqual(self.clock.tcpClients[-1][1], port)
        return ModelTransport.accept(self.clock.tcpClients[-1][2])

    def called(self, queue: str, port: int, **properties: Any) -> ModelTransport:
        """Publish a message to a queue; returns the connection on which its model is called."""
        self.put("", queue, **properties)
        return self.accept(port)

    def test_each_has_its_own(self) -> None:
        """The message of each queue goes to the entry's model; without one, to that of MODEL_URL."""
        for queue, port, line in (
            ("plain", 8080, b"POST /predict HTTP/1.1"),
            ("fraud", 9001, b"POST /fraud?key=hunter222 HTTP/1.1"),
            ("image", 9002, b"POST / HTTP/1.1"),
            ("named", 8080, b"POST /predict HTTP/1.1"),
        ):
            self.assertEqual(self.called(queue, port).request()[0], line)
        self.assertEqual(self.called("plain", 8080).request()[1].get(b"x-key"), None)

    def test_headers(self) -> None:
        """The entry's headers win over those of a message, in any spelling, and are in no reply."""
        self.make_queue("back")
        call = self.called("fraud", 9001, headers={"x-KEY": "callers", "x-other": "o"}, reply_to="back")
        _, headers, _ = call.request()
        found = [headers[name] for name in (b"x-key", b"authorization", b"x-other")]
        self.assertEqual(found, [[b"t0-secret"], [b"Bearer t0-secret"], [b"o"]])
        call.respond(response(200, b"1"))
        self.pump()
        (reply,) = self.take("back")
        self.assertNotIn("t0-secret", str(reply.headers))

    def test_shared(self) -> None:
        """Entries with the same model share its connections; others do not, though their host is the same."""
        call = self.called("fraud", 9001)
        call.respond(response(200, b"1"))
        self.pump()
        call.clear()
        self.put("", "twin")
        self.assertEqual(call.request()[0], b"POST /fraud?key=hunter222 HTTP/1.1")
        call.respond(response(200, b"1"))
        self.pump()
        call.clear()
        self.called("away", 9001)

    def ask(self, queue: str, port: int, ready: int) -> dict[bytes, list[bytes]]:
        """The headers of the question that follows a busy answer."""
        self.called(queue, port).respond(response(503, b"", "Connection: close"))
        self.pump()
        return self.accept(ready).request()[1]

    def test_ready_url(self) -> None:
        """A path is asked on the host of the entry's model, with its headers."""
        self.assertEqual(self.ask("fraud", 9001, 9001)[b"authorization"], [b"Bearer t0-secret"])
        self.assertEqual(self.ask("named", 8080, 8080)[b"x-key"], [b"k"])

    def test_ready_url_elsewhere(self) -> None:
        """A ready URL on another host does not get the headers: they may hold a secret of the model's."""
        headers = self.ask("away", 9001, 9003)
        self.assertEqual([name for name in (b"authorization", b"x-key") if name in headers], [])

    def test_no_ready_url(self) -> None:
        """MODEL_READY_URL says nothing about an entry's own model."""
        self.called("image", 9002).respond(response(503, b"", "Connection: close"))
        self.pump()
        self.assertEqual(len(self.clock.tcpClients), 1)
        self.assertEqual(self.role.degraded(), ["model of image is busy"])

    def test_own_state(self) -> None:
        """A model that is busy holds up its own queue only; metrics and log name the queue."""
        self.called("image", 9002).respond(response(503, b"", "Retry-After: 30", "Connection: close"))
        self.pump()
        self.assertEqual([counted(self.metrics.model_state, name) for name in ("image", "fraud", "plain")], [1, 0, 0])
        self.called("fraud", 9001)
        self.assertEqual([each["queue"] for each in self.logged if "calls of the model pause" in str(each)], ["image"])

    def test_repeated_secret(self) -> None:
        """A model that repeats its headers in an error does not get them into the log, or onto a parked message."""
        text = "Content-Type: text/plain"
        self.called("fraud", 9001).respond(response(500, b"bad key: t0-secret, or Bearer t0-secret", text))
        self.pump()
        (parked,) = self.take("fraud.parking")
        told = "".join(map(str, self.logged)) + str(parked.headers)
        self.assertIn("bad key: ***", told)
        self.assertNotIn("t0-secret", told)
