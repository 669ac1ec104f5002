"""The validator of the OpenAPI project's schemas reads our documents."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import load_queues
from provider_gateway.config.settings import Settings
from provider_gateway.gateway.api import API
from provider_gateway.gateway.api_document import api_document
from provider_gateway.gateway.body_schemas import OPEN_INFERENCE_SCHEMAS, REQUEST_SCHEMAS, SCHEMAS
from provider_gateway.gateway.offer import Offer
from provider_gateway.workbench.body_schemas import PARKING_SCHEMAS
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from provider_gateway.workbench.access import Rights

PARKING: Rights = (("a/b", ("read",)), ("jobs", ("replay", "drop")))


class OpenAPIValidatorTests(SynchronousTestCase):
    """Documents for different offers."""

    def problems(self, document: dict[str, Any]) -> list[str]:
        """What is wrong with a document."""
        return [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]

    def test_every_offer(self) -> None:
        """The document is valid with and without a result store, TLS, rights, webhooks and models."""
        entries = load_queues(ROOT / "examples" / "queue_config.yaml")
        for store, tls, webhooks, models in product((None, "sqlite:///r.db"), (True, False), ((), ("a",)), (0, 1, 3)):
            settings = Settings(_env_file=None, rmq_url="amqp://broker/", result_store=store, http_tls=tls)
            offer = replace(Offer.of(settings, entries[:models], webhooks), has_access_file=bool(webhooks))
            self.assertEqual(self.problems(api_document(API.routes(), replace(offer, parking=PARKING))), [])
            self.assertEqual(self.problems(api_document(API.routes(), offer)), [])

    def test_docs(self) -> None:
        """docs/openapi.json is valid."""
        self.assertEqual(self.problems(json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))), [])

    def test_mistake(self) -> None:
        """The validator finds a mistake."""
        document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
        document["paths"]["/v1/models"]["get"]["parameters"][0]["in"] = "nowhere"
        self.assertNotEqual(self.problems(document), [])

    def test_schemas(self) -> None:
        """The schemas of bodies are schemas (draft 2020-12)."""
        for schema in {**SCHEMAS, **REQUEST_SCHEMAS, **PARKING_SCHEMAS, **OPEN_INFERENCE_SCHEMAS}.values():
            Draft202012Validator.check_schema(schema)
