"""Passwords, keys and tokens are planted everywhere, and searched for in all outputs."""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING, ClassVar

from tests.security.base import SecurityTestCase
from tests.security.certificates import trusted_authority
from tests.security.client import get, post
from tests.security.model import says
from tests.support.rabbitmq import shared_broker

if TYPE_CHECKING:
    from tests.security.base import Deployment
    from tests.security.model import Asked
    from tests.security.processes import GatewayProcess


class SecretsTests(SecurityTestCase):
    """Outputs at log level "debug", of successes and of failures."""

    planted: ClassVar[dict[str, str]]

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A password for the broker, a key in the model's URL, and secrets of requests."""
        names = ("broker password", "model key", "authorization", "cookie", "body", "answer", "rquid of another")
        cls.planted = {name: secrets.token_hex(12) for name in names}
        user, password, broker = f"user{deployment.queue[-8:]}", cls.planted["broker password"], shared_broker()
        broker.control("add_user", user, password)
        broker.control("set_permissions", user, ".*", ".*", ".*")
        return {
            "LOG_LEVEL": "debug",
            "RMQ_URL": broker.url.replace("amqps://", f"amqps://{user}:{password}@"),
            "MODEL_URL": f"{deployment.model.url}?key={cls.planted['model key']}",
            "DRAIN_TIMEOUT": "1",
        }

    def setUp(self) -> None:
        super().setUp()
        self.seen: dict[str, str] = {}
        self.line_begin = len(self.gateway.lines)

    def call(self, what: str, request: bytes, status: int) -> None:
        """Make a request with a client's secrets; check its status, and keep the response."""
        with self.connect() as connection:
            response = connection.ask(request)
        self.assertEqual(response.status, status, what)
        self.seen[f"answer to: {what}"] = (response.head + response.body).decode("latin-1")

    def secret_post(self, body: bytes | None = None, *headers: bytes) -> bytes:
        """A request with secrets in its headers and, by default, in its body."""
        authorization = b"Authorization: Bearer " + self.planted["authorization"].encode()
        cookie = b"Cookie: session=" + self.planted["cookie"].encode()
        default = b'{"secret": "%s"}' % self.planted["body"].encode()
        return post(default if body is None else body, authorization, cookie, *headers)

    def keep(self, what: str, gateway: GatewayProcess) -> None:
        """Keep all output of a process."""
        self.seen[f"output of: {what}"] = gateway.output

    def keep_log(self) -> None:
        """Keep the shared gateway's output from its start and from this test."""
        lines = self.gateway.lines
        self.seen["log"] = "\n".join(lines[: self.deployment.first_lines] + lines[self.line_begin :])

    def ended(self, *runs: tuple[tuple[str, ...], dict[str, str]]) -> list[str]:
        """The output of processes with these arguments and variables; they run side by side and end by themselves."""
        started = [self.deployment.run(*arguments, **variables) for arguments, variables in runs]
        for gateway in started:
            gateway.wait()
            self.keep(f"process {gateway.pid}", gateway)
        return [gateway.output for gateway in started]

    def assert_nothing_seen(self, *allowed: str) -> None:
        """Check that no output has a secret, except those that the model may send to its client."""
        base64_of_key = [
            line
            for path in (self.deployment.folder / "server_key.pem",)
            for line in path.read_text(encoding="ascii").splitlines()
            if not line.startswith("-")
        ]
        looked_for = {**self.planted, "any key": "PRIVATE KEY", **{f"key {line[:4]}": line for line in base64_of_key}}
        for where, text in self.seen.items():
            found = [name for name, secret in looked_for.items() if secret in text and name not in allowed]
            self.assertEqual(found, [], where)

    def test_requests(self) -> None:
        """Successful and failing requests: no secret in logs, access log, metrics, responses or the process title."""
        self.model.answer = says(200, b'{"any": "answer"}')
        self.call("a call", self.secret_post(), 200)
        self.assertIn(self.planted["model key"], self.model.asked[0].target)  # the secret was used
        self.assertNotIn("authorization", self.model.asked[0].headers)
        self.call("malformed", self.secret_post(None, b"X-Any : a"), 400)
        self.call("not allowed here", self.secret_post(None, b"Host: a, b"), 400)
        self.call("no JSON", self.secret_post(b'{"secret": "%s' % self.planted["body"].encode()), 422)
        self.call("no type", self.secret_post(None, b"Content-Type: text/plain"), 415)
        self.call("no route", self.secret_post(None, b"routing-key: nowhere"), 404)
        self.call("no method", get(b"/v1/predict"), 405)
        secret_answer = b'{"error": "%s"}' % self.planted["answer"].encode()
        secret_header = b"X-Key: " + self.planted["model key"].encode()
        for status in (500, 302):
            self.model.answer = says(status, secret_answer, secret_header)
            self.call(f"model answers {status}", self.secret_post(), 502)
        for status in (429, 503):
            # A busy model: the message is held, and sent again after the pause.
            answers = iter([says(status, secret_answer, secret_header), says(200)])
            self.model.answer = lambda asked, answers=answers: next(answers)(asked)
            self.call(f"model answers {status}", self.secret_post(), 200)

        def hang_up(_asked: Asked) -> bytes:
            self.model.break_connections()
            return b""

        self.model.answer = hang_up
        self.call("model hangs up", self.secret_post(), 502)
        self.model.answer = lambda _asked: b"no HTTP at all\r\n\r\n"
        self.call("model speaks no HTTP", self.secret_post(), 502)
        self.seen["metrics"] = self.admin("/metrics")[1]
        self.seen["health"] = self.admin("/health/ready")[1]
        self.seen["access log"] = self.deployment.access_log.read_text(encoding="utf-8")
        self.seen["title"] = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(self.gateway.pid)], capture_output=True, text=True, check=True
        ).stdout
        self.assertIn("provider-gateway", self.seen["title"])
        self.assert_nothing_seen()
        self.seen.clear()
        self.keep_log()
        self.assertIn('"level": "debug"', self.seen["log"])
        self.assert_nothing_seen("answer")  # what the model says of its error is logged (LOG_MODEL_ERRORS)

    def test_model_that_repeats(self) -> None:
        """A model whose broken response repeats the request: no secret in the log or in the gateway's response."""
        for repeat in (
            lambda asked: b"HTTP/1.1 " + asked.target.encode() + asked.body + b"\r\n\r\n",
            lambda asked: b"HTTP/1.1 200 OK\r\nContent-Length: " + asked.target.encode() + b"\r\n\r\n",
            lambda asked: (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + asked.target.encode() + b"\r\n\r\n"
            ),
            lambda asked: asked.target.encode() + b"\r\n\r\n",
        ):
            self.model.answer = repeat
            self.call("a broken answer", self.secret_post(), 502)
        self.keep_log()
        self.assert_nothing_seen()

    def test_model_that_is_away(self) -> None:
        """A model that cannot be reached and is not ready: its keys are in no log line and response."""
        away, key = self.model.url.replace("localhost", "127.0.0.2"), self.planted["model key"]
        gateway = self.deployment.run(MODEL_URL=f"{away}?key={key}", MODEL_READY_URL=f"/ready?key={key}", HTTP_PORT="0")
        self.addCleanup(gateway.stop)
        gateway.ready()
        # Both gateways consume the queue in turn. The one whose model is away gives its messages back to the other one.
        self.model.answer = says(200)
        with self.connect() as connection:
            statuses = {connection.ask(self.secret_post()).status for _ in range(4)}
        self.assertEqual(statuses, {200})
        gateway.logged("cannot be reached")
        gateway.logged("is not ready by")
        self.keep("model away", gateway)
        self.assert_nothing_seen()

    def test_login_refused(self) -> None:
        """A login that the broker refuses is logged without its password."""
        url = f"amqps://somebody:{self.planted['broker password']}@localhost:{shared_broker().tls_port}/"
        gateway = self.deployment.run(RMQ_URL=url)
        gateway.logged("ACCESS_REFUSED")
        gateway.stop()
        self.keep("login refused", gateway)
        self.assert_nothing_seen()

    def test_check(self) -> None:
        """--check, with and without --connect, prints the settings without their secrets."""
        url = f"amqps://somebody:{self.planted['broker password']}@localhost:{shared_broker().tls_port}/"
        ready = {"MODEL_READY_URL": f"/ready?key={self.planted['model key']}"}
        checked, connected, refused = self.ended(
            (("--check",), ready),
            (("--check", "--connect"), ready),
            (("--check", "--connect"), {"RMQ_URL": url}),
        )
        self.assertIn(":***@localhost", checked)
        self.assertIn(": connected", connected)
        self.assertIn("/ready?***: ", connected)
        self.assertIn("FAILED", refused)
        self.assert_nothing_seen()

    def test_wrong_settings(self) -> None:
        """Errors in settings with a secret are reported without the secret."""
        password, key = self.planted["broker password"], self.planted["model key"]
        wrong = (
            ("RMQ_URL", f"amqps://a:{password}/x@localhost/"),
            ("RMQ_URL", f"amqps://b:{password}@localhost:port/"),
            ("MODEL_URL", f"http://a:{key}@localhost/"),
            ("MODEL_PATH", f"predict?key={key}"),
            ("MODEL_READY_URL", f"ready?key={key}"),
        )
        outputs = self.ended(*((("--check",), {variable: value}) for variable, value in wrong))
        for (variable, _), output in zip(wrong, outputs, strict=True):
            self.assertIn(f"{variable}: expected", output)
        self.assert_nothing_seen()

    def test_keys(self) -> None:
        """A private key in the wrong file, or a broken one, is refused without quoting it."""
        key = self.deployment.folder / "any_key.pem"
        trusted_authority().issue("gateway").write(self.deployment.folder / "any.pem", key)
        text = key.read_text(encoding="ascii")
        broken = self.deployment.folder / "broken.pem"
        broken.write_text(text[:-60], encoding="ascii")
        wrong = (("HTTP_KEY", broken), ("HTTP_CERT", key), ("HTTP_CACERT", key), ("HTTP_ACCESS", key))
        outputs = self.ended(*((("--check",), {variable: str(path)}) for variable, path in wrong))
        for (variable, _), output in zip(wrong, outputs, strict=True):
            self.assertIn(f"{variable}: ", output)
            self.assertNotIn(text.splitlines()[1][:20], output)
        self.assert_nothing_seen()
