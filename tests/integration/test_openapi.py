"""The OpenAPI document against the running process: Schemathesis tries what it allows, and what it does not."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pika
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.server import Site

from provider_gateway.gateway.body_schemas import OPEN_INFERENCE_SCHEMAS
from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.model_server import ModelServer
from tests.support.rabbitmq import delete_result_objects

reactor: Any = global_reactor
#: All models but the one that fails: what the document calls is to be answered.
RULES = [
    {
        "identities": ["*"],
        "routingKeys": ["predict.*", "fraud.check", "images.now"],
        "parking": ["read", "replay", "drop"],
        "queues": ["*"],
    }
]
#: Bodies of parked messages: JSON, text, the beginning of a PNG, and no text.
BODIES = (b'{"n": 1}', "Grüße".encode(), b"\x89PNG\r\n\x1a\n\0", b"\xff\xfe", b"")
_INFERENCE_REQUEST = Draft202012Validator(OPEN_INFERENCE_SCHEMAS["InferenceRequest"])
#: What a document cannot say of requests that are well formed: which of them are answered with a 4xx all the same.
_CONFIGURATION = """
# Requests for each operation and phase. More are a matter of time: docs/interface.md has the command.
generation.max-examples = 12

[checks]
# A pending request or a job that is deleted keeps its status: it was canceled.
use_after_free.enabled = false

[[operations]]
# Which bodies are taken is the model's to say, and which routing keys the access file's; an Idempotency-Key may have
# been used for another body.
include-path-regex = "^/v1/(predict|publish|fraud|images)|/infer$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409", "415", "422"]

[[operations]]
# The list goes on after requests that there are.
include-name = "GET /v1/requests"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]

[[operations]]
# The result is whatever the model has answered; there is none of a canceled request.
include-name = "GET /v1/requests/{id}/result"
checks.positive_data_acceptance.expected-statuses = ["2xx", "4xx"]

[[operations]]
# No pattern says which texts are times, or regular expressions of RE2; messages and jobs are gone, or not as many as
# expected; a job may be at the parking queue.
include-path-regex = "^/v1/parking"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409"]
# Each request has a connection to the broker.
generation.max-examples = 4
# A query may be longer than headers are.
checks.negative_data_rejection.expected-statuses = ["400", "404", "409", "415", "428", "431"]
"""


def infer(body: bytes) -> tuple[int, bytes]:
    """A model of the Open Inference Protocol that answers with its inputs."""
    try:
        request = json.loads(body)
    except ValueError:
        request = None
    if not _INFERENCE_REQUEST.is_valid(request):
        return 400, b'{"error": "no inference request"}'
    return 200, json.dumps({"model_name": "fraud", "outputs": request["inputs"]}).encode()


class SchemathesisTests(IntegrationTestCase):
    """A gateway with four models, one of which fails, a result store, and an operator of parking queues."""

    #: Schemathesis sends more than a thousand requests.
    timeout = 240

    async def setUp(self) -> None:
        await super().setUp()
        self.addCleanup(self.on_channel, lambda channel: delete_result_objects(channel, self.output))
        self.model.answer = lambda _body: (200, b'{"result": 1}')
        fraud = ModelServer()
        fraud.answer = infer
        fraud_url = f"http://127.0.0.1:{await self.listen(fraud)}/fraud"
        broken = ModelServer()
        broken.answer = lambda _body: (500, b"boom")
        broken_url = f"http://127.0.0.1:{await self.listen(broken)}/broken"
        #: Its name has to be percent-encoded. What is replayed comes back to the parking queue.
        self.broken = f"{self.queue}/brök en"
        self.others = [f"{self.queue}.fraud", f"{self.queue}.images", self.broken]
        self.entries = [
            self.entry(),
            self.entry(
                queueName=self.others[0],
                bindingKey="fraud.check",
                paths="/v1/fraud",
                openInference=True,
                model={"name": "fraud", "url": fraud_url},
            ),
            self.entry(
                queueName=self.others[1], bindingKey="images.now", paths="/v1/images", accept=["image/*", "text/plain"]
            ),
            self.entry(queueName=self.broken, bindingKey="broken", dle=True, maxAttempts=1, model={"url": broken_url}),
        ]

    async def listen(self, model: ModelServer) -> int:
        """Start a model; returns its port."""
        site = Site(model)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def park(self) -> None:
        """Park messages of each kind."""

        def publish(channel: Any) -> None:
            channel.confirm_delivery()
            for body in BODIES:
                headers = {
                    "pg-reason": "timeout",
                    "pg-routing-key": "broken",
                    "pg-attempt": 3,
                    "x": [b"\xff", {"y": None}],
                }
                properties = pika.BasicProperties(headers=headers, content_type="text/plain", delivery_mode=2)
                channel.basic_publish("", f"{self.broken}.parking", body, properties, mandatory=True)

        await self.on_channel(publish)

    async def check_parked(self, url: str, document: Any) -> None:
        """Check lists, messages and jobs that there are: most requests of Schemathesis find none."""

        async def fetched(path: str, schema: str, method: str = "GET", **more: Any) -> Any:
            response = await self.client.request(method, f"{url}{path}", **more)
            found = await response.json()
            self.assertLess(response.code, 300, found)
            whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
            problems = [
                f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(found)
            ]
            self.assertEqual(problems, [], path)
            return found

        queues = await fetched("/v1/parking", "ParkingQueues")
        (path,) = [each["links"]["messages"] for each in queues["queues"] if each["queue"] == self.broken]
        found = await fetched(f"{path}?reason=timeout&limit=4", "ParkedMessages")
        self.assertEqual((found["matching"], len(found["messages"])), (len(BODIES), 4))
        for each in found["messages"]:
            await fetched(f"{path}/{each['id']}", "ParkedMessageInFull")
        self.assertEqual(len((await fetched(found["next"], "ParkedMessages"))["messages"]), 1)
        order = {"filter": {"reason": "timeout"}, "dry_run": True, "rate": 5, "why": "a test"}
        for action in ("replay", "drop"):
            job = await fetched(f"{path}/{action}", "ParkingJob", "POST", json=order)
            while job["state"] in ("counting", "running"):
                await deferLater(reactor, 0.05)  # HTTP tells nobody when a job ends: clients ask
                job = await fetched(job["links"]["self"], "ParkingJob")
        jobs = await fetched("/v1/parking/jobs", "ParkingJobs")
        self.assertEqual(len(jobs["jobs"]), 2)

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        for queue in self.others:
            channel.queue_delete(queue)
            channel.queue_delete(f"{queue}.retry")
            channel.queue_delete(f"{queue}.parking")
            channel.queue_delete(f"{queue}.parking.operator")
            channel.exchange_delete(f"{queue}.return")

    async def test_document_and_process(self) -> None:
        """The document is valid; no response contradicts it, nothing that it forbids is taken, and nothing fails."""
        store = f"sqlite://{(self.folder / 'results.db').resolve()}"
        access = self.folder / "access.yaml"
        access.write_text(yaml.safe_dump(RULES))
        variables = {"RESULT_STORE": store, "HTTP_ACCESS": str(access.resolve())}
        gateway = await self.start(entries=self.entries, **variables).ready()
        await self.park()
        address = f"https://localhost:{await gateway.port('https')}"
        url = f"{address}/openapi.json"
        response = await self.client.get(url)
        document = await response.json()
        validate(document)
        await self.check_parked(address, document)
        count = sum(len(methods) for methods in document["paths"].values())
        certs = certificates()
        (self.folder / "schemathesis.toml").write_text(_CONFIGURATION)
        out, errors, status = await getProcessOutputAndValue(
            str(Path(sys.executable).with_name("schemathesis")),
            [
                *("--config-file", "schemathesis.toml", "run", url, "--seed", "1"),
                *("--tls-verify", str(certs / "cacert.pem"), "--request-cert", str(certs / "client_cert.pem")),
                *("--request-cert-key", str(certs / "client_key.pem"), "--no-color"),
            ],
            env={"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
            path=str(self.folder),
        )
        text = out.decode()
        self.assertEqual(status, 0, text + errors.decode())
        self.assertIn(f"Tested: {count - 1}\n", text)  # all but the one that the document comes from
        (generated, passed) = re.findall(r"(\d+) generated, (\d+) passed", text)[0]
        self.assertEqual(generated, passed)
        self.assertGreater(int(generated), 500, text)
