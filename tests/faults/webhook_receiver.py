"""A receiver of webhooks in the test's own process: checks each signature, and tells the ledger."""

from __future__ import annotations

import base64
import hmac
import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import yaml
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.trial.unittest import TestCase

    from tests.faults.kept_ledger import KeptLedger

#: Name of the endpoint in the access file.
NAME = "receiver"


class WebhookReceiver(Resource):
    """Takes webhooks at any path.

    Args:
        test: stops listening with it.
        folder: for access file and secret.

    Attributes:
        access: path of an access file that lets everybody do all, and registers this endpoint.
        received: number of webhooks.
    """

    isLeaf = True

    def __init__(self, test: TestCase, ledger: KeptLedger, folder: Path) -> None:
        super().__init__()
        self._ledger = ledger
        self._secret = os.urandom(32)
        self.received = 0
        site = Site(self)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        test.addCleanup(port.stopListening)
        secret = folder / "webhook-secret"
        secret.write_text(f"whsec_{base64.b64encode(self._secret).decode()}")
        url = f"http://127.0.0.1:{port.getHost().port}/told"
        rule = {
            "identities": ["*"],
            "routingKeys": ["#"],
            "webhooks": {NAME: {"url": url, "secretFiles": [secret.name]}},
        }
        self.access = str(folder.resolve() / "access.yaml")
        (folder / "access.yaml").write_text(yaml.safe_dump([rule]))

    def render_POST(self, request: Any) -> bytes:
        body = request.content.read()
        self.received += 1
        id_, timestamp, signature = (request.getHeader(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
        digest = hmac.new(self._secret, f"{id_}.{timestamp}.".encode() + body, sha256).digest()
        if f"v1,{base64.b64encode(digest).decode()}" not in (signature or "").split(" "):
            self._ledger.wrong.append(f"a webhook with a wrong signature: {signature} {body[:200]!r}")
            return b""
        event = json.loads(body)
        self._ledger.event(event["data"]["id"], id_, event["type"])
        return b""
