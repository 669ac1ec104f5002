"""Entries with models and paths of their own: who may use which, and what each model is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from tests.security.base import SecurityTestCase, channel
from tests.security.certificates import tls_of, trusted_authority, trusted_file
from tests.security.client import get, post
from tests.security.model import Model
from tests.support.certificates import SERVER, local_names

if TYPE_CHECKING:
    from tests.security.base import Deployment
    from tests.security.client import Response
    from tests.support.certificates import Holder

TOKEN = "token-of-image-5f3a"
LITERAL = "literal-of-fraud-9c1b"
QUERY = "query-of-fraud-77aa"
RULES = [
    {"identities": ["frauds"], "routingKeys": ["predict.fraud"]},
    {"identities": ["images"], "routingKeys": ["other.*"]},
    {"identities": ["metered 2"], "routingKeys": ["predict.#"], "rate": 0.01, "burst": 2},
    {"identities": ["metered"], "routingKeys": ["predict.#"], "rate": 0.01, "burst": 2},
    {"identities": ["caller"], "routingKeys": ["#"]},
]


class OwnModelsTestCase(SecurityTestCase):
    """Two queues, with a model and a path each."""

    models: ClassVar[dict[str, Model]] = {}
    shown: ClassVar[dict[str, Holder]] = {}

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """The access file, and the variable of a header."""
        path = deployment.folder / "access.yaml"
        path.write_text(yaml.safe_dump(RULES), encoding="utf-8")
        return {"HTTP_ACCESS": str(path), "IMAGE_TOKEN": f"{TOKEN}\n"}

    @classmethod
    def entries(cls, deployment: Deployment, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """An entry for each model: with a certificate of its own, and a header."""
        made = []
        for name, key, headers in (
            ("fraud", "predict.fraud", {"X-Key": LITERAL}),
            ("image", "other.image", {"Authorization": "Bearer ${IMAGE_TOKEN}", "x-key": "${IMAGE_TOKEN}"}),
        ):
            if name not in cls.models:
                cls.models[name] = Model(tls_of(trusted_authority().issue(name, purpose=SERVER, names=local_names())))
                cls.shown[name] = trusted_authority().issue(f"towards {name}")
            files = [deployment.folder / f"{name}-{part}.pem" for part in ("cert", "key")]
            cls.shown[name].write(*files)
            made.append(
                {
                    **entry,
                    "queueName": f"{entry['queueName']}.{name}",
                    "bindingKey": key,
                    "openInference": True,
                    "paths": [f"/v1/{name}", f"/v1/models/{name}:predict"],
                    "model": {
                        "url": f"{cls.models[name].url}?key={QUERY}" if name == "fraud" else cls.models[name].url,
                        "cacert": str(trusted_file()),
                        "cert": str(files[0]),
                        "key": str(files[1]),
                        "headers": headers,
                        "name": name,
                    },
                }
            )
        return made

    def setUp(self) -> None:
        super().setUp()
        for model in self.models.values():
            model.forget()

    def send(self, path: str, who: str = "caller", body: bytes = b"1", *headers: bytes) -> Response:
        """A POST to a path, without a routing key."""
        request = post(body, *headers, target=path.encode())
        if not any(header.startswith(b"routing-key") for header in headers):
            request = request.replace(b"routing-key: predict.now\r\n", b"")
        return self.ask(request, trusted_authority().issue(who))

    def bodies(self) -> dict[str, list[bytes]]:
        """What each model has got."""
        return {name: model.bodies for name, model in self.models.items()}


class ModelTests(OwnModelsTestCase):
    """What each model gets."""

    def test_each_has_its_own(self) -> None:
        """Each path leads to its model over TLS; each model sees the certificate and the headers of its entry alone."""
        for name in ("fraud", "image"):
            response = self.send(f"/v1/{name}", "caller", b'"%s"' % name.encode(), b"X-Key: callers", b"x-other: o")
            self.assertEqual((response.status, response.body), (200, b'"%s"' % name.encode()))
        self.assertEqual(self.bodies(), {"fraud": [b'"fraud"'], "image": [b'"image"']})
        for name, expected in (
            ("fraud", {"x-key": LITERAL, "authorization": None}),
            ("image", {"x-key": TOKEN, "authorization": f"Bearer {TOKEN}"}),
        ):
            (asked,) = self.models[name].asked
            self.assertEqual({header: asked.headers.get(header) for header in expected}, expected)
            self.assertEqual(asked.headers["x-other"], "o")
            self.assertEqual(set(self.models[name].peers), {self.shown[name].certificate.serial_number})
        self.assertEqual(self.model.bodies, [])

    def test_secrets(self) -> None:
        """Headers and queries of models are in no log line, metric, response, parked message or ``--check`` output."""
        self.models["fraud"].answer = lambda asked: (
            b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\n"
            + (b"Content-Length: %d\r\n\r\n%s" % (len(str(asked.headers)), str(asked.headers).encode()))
        )
        answers = [self.send("/v1/fraud"), self.send("/v1/image"), self.ask(get(b"/v1/models"))]
        self.assertEqual([each.status for each in answers], [502, 200, 200])
        with channel() as opened:
            _, properties, _ = opened.basic_get(f"{self.deployment.queue}.fraud.parking", auto_ack=True)
        checked = self.deployment.run("--check")
        self.assertEqual(checked.wait(), 0)
        self.assertIn("x-key: '***'", checked.output)
        told = [*map(str, answers), str(properties), checked.output, self.gateway.output, self.admin("/metrics")[1]]
        for text in told:
            for secret in (TOKEN, LITERAL, QUERY):
                self.assertNotIn(secret, text)

    def test_reload(self) -> None:
        """An entry's certificate is loaded again when it changes: its model sees the new one, the other one the old."""
        self.shown["fraud"] = renewed = trusted_authority().issue("towards fraud, renewed")
        renewed.write(*(self.deployment.folder / f"fraud-{part}.pem" for part in ("cert", "key")))
        self.gateway.logged(f"TLS towards the model of {self.deployment.queue}.fraud: loaded again")
        for name, model in self.models.items():
            model.break_connections()
            model.peers.clear()
            self.assertEqual(self.send(f"/v1/{name}").status, 200)
            self.assertEqual(model.peers, [self.shown[name].certificate.serial_number])

    def test_missing_variable(self) -> None:
        """Without the variable a provider does not start, with one line; a gateway starts: it calls no model."""
        for arguments, expected in (("provider", 1), ("gateway", 0)):
            process = self.deployment.run("--role", arguments, "--check", IMAGE_TOKEN="")
            self.assertEqual(process.wait(), expected)
            lines = [line for line in process.errors if "IMAGE_TOKEN" in line]
            self.assertEqual(len(lines), expected)
        self.assertIn("IMAGE_TOKEN", str(self.deployment.entries))


class AccessTests(OwnModelsTestCase):
    """Who may use which path."""

    def test_key_of_the_path(self) -> None:
        """A path needs the right to its routing key; a caller without it gets 403, and nothing is published."""
        for who, allowed, forbidden in (("frauds", "fraud", "image"), ("images", "image", "fraud")):
            for path in ("/v1/%s", "/v1/models/%s:predict"):
                self.assertEqual(self.send(path % allowed, who).status, 200)
                self.assert_problem(self.send(path % forbidden, who, b'"forbidden"'), 403, "forbidden")
        self.assert_problem(self.send("/v1/fraud", "nobody", b'"forbidden"'), 403, "forbidden")
        self.assertNotIn(b'"forbidden"', [body for bodies in self.bodies().values() for body in bodies])

    def test_other_key(self) -> None:
        """A header cannot make a path lead elsewhere, nor lend the right to it."""
        for who in ("caller", "images", "frauds"):
            answer = self.send("/v1/fraud", who, b"1", b"routing-key: other.image")
            self.assert_problem(answer, 400, "bad-request")
        self.assert_problem(self.send("/v1/fraud", "images", b"1", b"routing-key: predict.fraud"), 403, "forbidden")
        self.assertEqual(self.bodies(), {"fraud": [], "image": []})

    def test_other_spellings(self) -> None:
        """Other spellings of a path are unknown: they are served with no key at all."""
        for path in ("/v1/frau%64", "/v1/fraud/", "/v1//fraud", "/v1/image/../fraud", "/V1/FRAUD"):
            self.assertEqual(self.send(path, "images").status, 404)
        self.assertEqual(self.bodies(), {"fraud": [], "image": []})

    def test_rate(self) -> None:
        """A path counts for the same rate as its routing key; the list of models does not count."""
        header = b"routing-key: predict.fraud"
        self.assertEqual([self.send("/v1/fraud", "metered").status for _ in range(1)], [200])
        self.assertEqual(self.ask(get(b"/v1/models"), trusted_authority().issue("metered")).status, 200)
        self.assertEqual(self.send("/v1/predict", "metered", b"1", header).status, 200)
        self.assert_problem(self.send("/v1/fraud", "metered"), 429, "rate-limited")

    def test_documentation(self) -> None:
        """The documents of the interface name the paths that the caller may use, and neither others nor addresses."""
        for who in ("caller", "frauds", "images", "nobody"):
            holder = trusted_authority().issue(who)
            listed = self.ask(get(b"/v1/models"), holder).body
            for path in (b"/openapi.json", b"/docs"):
                response = self.ask(get(path), holder)
                self.assertEqual(response.status, 200)
                for model in (b"fraud", b"image"):
                    self.assertEqual(b"/v1/" + model in response.body, b"/v1/" + model in listed, (who, path))
                self.assertNotIn(b"127.0.0.1", response.body)

    def test_list(self) -> None:
        """Each caller sees the models that it may use, and nothing of where they are."""
        for who, expected in (
            ("caller", ["fraud", "image"]),
            ("frauds", ["fraud"]),
            ("images", ["image"]),
            ("nobody", []),
        ):
            response = self.ask(get(b"/v1/models"), trusted_authority().issue(who))
            self.assertEqual(
                (response.status, [each["name"] for each in json.loads(response.body)["models"]]), (200, expected)
            )
            for part in (b"https:", b"localhost", b"pem", b"headers", self.deployment.queue.encode()):
                self.assertNotIn(part, response.body)

    def test_recorded(self) -> None:
        """The access log has the path, and the metric counts it as a route."""
        rquid = self.send("/v1/image", "images").headers["rquid"]
        self.assertEqual(self.recorded(rquid=rquid)["path"], "/v1/image")
        name = 'provider_gateway_http_requests_total{code="200",method="POST",route="/v1/image"}'
        self.assertGreaterEqual(self.metric(name), 1)


class OpenInferenceTests(OwnModelsTestCase):
    """Who may use which model by the Open Inference Protocol."""

    def told(self, path: str, who: str) -> Response:
        return self.ask(get(path.encode()), trusted_authority().issue(who))

    def assert_error(self, response: Response, status: int) -> None:
        """The response has the protocol's form, and tells nothing of where a model is."""
        self.assertEqual((response.status, list(json.loads(response.body))), (status, ["error"]))
        for part in (b"https:", b"localhost", self.deployment.queue.encode()):
            self.assertNotIn(part, response.body)

    def test_allowed(self) -> None:
        """A caller uses the model whose routing key it may use, and reads about it; of the other one it gets 403."""
        for who, allowed, forbidden in (("frauds", "fraud", "image"), ("images", "image", "fraud")):
            for version in ("", "/versions/1"):
                path = f"/v2/models/%s{version}"
                self.assertEqual(self.send(f"{path % allowed}/infer", who).status, 200)
                self.assertEqual(self.told(path % allowed, who).status, 200)
                self.assertEqual(self.told(f"{path % allowed}/ready", who).status, 200)
                self.assert_error(self.send(f"{path % forbidden}/infer", who, b'"forbidden"'), 403)
                self.assert_error(self.told(path % forbidden, who), 403)
                self.assert_error(self.told(f"{path % forbidden}/ready", who), 403)
        self.assertNotIn(b'"forbidden"', [body for bodies in self.bodies().values() for body in bodies])

    def test_server(self) -> None:
        """Whoever has a certificate is told about the server, and whether the models are ready that it may use."""
        for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            response = self.told(path, "nobody")
            self.assertEqual(response.status, 200)
            for part in (b"fraud", b"image", b"https:"):
                self.assertNotIn(part, response.body)

    def test_other_spellings(self) -> None:
        """Other spellings of a name lead to that model alone, with the right to its key; a header changes nothing."""
        self.assertEqual(self.send("/v2/models/%66raud/infer", "frauds").status, 200)
        for path in ("/v2/models/%66raud/infer", "/v2/models/fraud/versions/%31/infer"):
            self.assert_error(self.send(path, "images", b'"forbidden"'), 403)
            self.assert_error(self.send(path, "images", b'"forbidden"', b"routing-key: other.image"), 400)
        for path in (
            "/v2/models/image/../fraud/infer",
            "/v2/models//infer",
            "/v2//models/fraud/infer",
            "/V2/models/fraud",
        ):
            self.assertIn(self.send(path, "frauds", b'"forbidden"').status, (404, 405))
        self.assertEqual(self.bodies(), {"fraud": [b"1"], "image": []})

    def test_rate(self) -> None:
        """Requests for a model count for the rate of its key; metadata and health do not."""
        for _ in range(3):
            self.assertEqual(self.told("/v2/models/fraud/ready", "metered 2").status, 200)
        answers = [self.send("/v2/models/fraud/infer", "metered 2") for _ in range(3)]
        self.assertEqual([answer.status for answer in answers], [200, 200, 429])
        self.assert_error(answers[-1], 429)
        self.assertIn("retry-after", answers[-1].headers)

    def test_series(self) -> None:
        """Names that a caller invents make no time series."""
        for name in ("a", "b", "%ff", "fraud"):
            self.told(f"/v2/models/{name}/versions/{name}", "caller")
        metrics = self.admin("/metrics")[1]
        self.assertIn('route="/v2/models/{name}/versions/{version}"', metrics)
        for text in ("/v2/models/a", "/v2/models/b", "/v2/models/fraud"):
            self.assertNotIn(text, metrics)
