"""The OpenAPI document against the running process: Schemathesis tries what it allows, and what it does not."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from twisted.internet import reactor as global_reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.server import Site

from provider_gateway.gateway.body_schemas import OPEN_INFERENCE_SCHEMAS
from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.model_server import ModelServer
from tests.support.rabbitmq import delete_result_objects

reactor: Any = global_reactor
_INFERENCE_REQUEST = Draft202012Validator(OPEN_INFERENCE_SCHEMAS["InferenceRequest"])
#: What a document cannot say of requests that are well formed: which of them are answered with a 4xx all the same.
_CONFIGURATION = """
[checks]
# A pending request that is deleted keeps its status: it was canceled.
use_after_free.enabled = false

[[operations]]
# Which bodies are taken is the model's to say; an Idempotency-Key may have been used for another body.
include-path-regex = "^/v1/(predict|publish|fraud|images)|/infer$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "415", "422"]

[[operations]]
# The list goes on after requests that there are.
include-name = "GET /v1/requests"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]

[[operations]]
# The result is whatever the model has answered; there is none of a canceled request.
include-name = "GET /v1/requests/{id}/result"
checks.positive_data_acceptance.expected-statuses = ["2xx", "4xx"]
"""
#: Requests for each operation and phase. More are a matter of time: docs/interface.md has the command.
_EXAMPLES = "12"


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
    """A gateway with three models and a result store."""

    async def setUp(self) -> None:
        await super().setUp()
        self.addCleanup(self.on_channel, lambda channel: delete_result_objects(channel, self.output))
        self.model.answer = lambda _body: (200, b'{"result": 1}')
        fraud = ModelServer()
        fraud.answer = infer
        site = Site(fraud)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        fraud_url = f"http://127.0.0.1:{port.getHost().port}/fraud"
        self.others = [f"{self.queue}.fraud", f"{self.queue}.images"]
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
        ]

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        for queue in self.others:
            channel.queue_delete(queue)
            channel.queue_delete(f"{queue}.parking")
            channel.exchange_delete(f"{queue}.return")

    async def test_document_and_process(self) -> None:
        """The document is valid; no response contradicts it, nothing that it forbids is taken, and nothing fails."""
        store = f"sqlite://{(self.folder / 'results.db').resolve()}"
        gateway = await self.start(entries=self.entries, RESULT_STORE=store).ready()
        url = f"https://localhost:{await gateway.port('https')}/openapi.json"
        response = await self.client.get(url)
        document = await response.json()
        validate(document)
        count = sum(len(methods) for methods in document["paths"].values())
        certs = certificates()
        (self.folder / "schemathesis.toml").write_text(_CONFIGURATION)
        out, errors, status = await getProcessOutputAndValue(
            str(Path(sys.executable).with_name("schemathesis")),
            [
                *("--config-file", "schemathesis.toml", "run", url, "--seed", "1", "--max-examples", _EXAMPLES),
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
