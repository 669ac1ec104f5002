"""A webhook's body, its signatures, and the message that carries it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.message import Message
from provider_gateway.store.records import Status
from provider_gateway.webhooks.event import Event
from tests.unit.webhooks.base import KEY, record


class BodyTests(SynchronousTestCase):
    """What an endpoint is told."""

    def test_document(self) -> None:
        """The body has the type, the time of the event, id and status, and where the result is; and nothing else."""
        for status in (Status.SUCCEEDED, Status.FAILED, Status.PARKED, Status.EXPIRED):
            event = Event.of(record(status=status))
            self.assertEqual(
                {
                    "type": f"prediction.{status}",
                    "timestamp": "2023-11-14T22:13:20.123Z",
                    "data": {"id": "c1", "status": status, "result": "/v1/requests/c1/result"},
                },
                json.loads(event.body),
            )
            self.assertEqual(f"msg_c1_{status}", event.id)
            self.assertEqual(("c1", "done a", 1, 0), (event.request, event.webhook, event.attempt, event.put_off))

    def test_same_id(self) -> None:
        """The same outcome, published twice, is the same webhook; another outcome of the request is another one."""
        self.assertEqual(Event.of(record()), Event.of(record()))
        self.assertNotEqual(Event.of(record()).id, Event.of(record(status=Status.PARKED)).id)
        self.assertNotEqual(Event.of(record()).id, Event.of(record("c2")).id)


class HeadersTests(SynchronousTestCase):
    """The headers of a try. tests.integration.test_webhooks has a receiver verify them."""

    def test_headers(self) -> None:
        """Each secret signs id, time of the try, and body; no two signatures are joined otherwise than by a space."""
        event = Event.of(record())
        headers = event.headers((KEY, b"x" * 24), 1_700_000_500.9)
        signed = f"msg_c1_succeeded.1700000500.{event.body.decode()}".encode()
        signatures = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in (KEY, b"x" * 24)]
        self.assertEqual("v1,{} v1,{}".format(*(each.decode() for each in signatures)), headers["webhook-signature"])
        self.assertEqual(("msg_c1_succeeded", "1700000500"), (headers["webhook-id"], headers["webhook-timestamp"]))
        self.assertEqual("application/json", headers["Content-Type"])

    def test_next_try(self) -> None:
        """A later try has the same id and body, and another time."""
        event = Event.of(record())
        again = Event.told_by(event.next_try().message())
        self.assertEqual((event.id, event.body), (again.id, again.body))
        first, second = event.headers((KEY,), 1), again.headers((KEY,), 2)
        self.assertEqual(first["webhook-id"], second["webhook-id"])
        self.assertNotEqual(first["webhook-signature"], second["webhook-signature"])


class MessageTests(SynchronousTestCase):
    """The form in which a webhook waits."""

    def test_message(self) -> None:
        """A message carries the webhook and its tries; each publish has a message id of its own."""
        event = Event.of(record(webhook="done spiffe://ä/b c")).next_try().later().later()
        messages = [Message.received(event.message().properties(), event.body) for _ in range(2)]
        for message in messages:
            self.assertEqual(event, Event.told_by(message))
        self.assertEqual((2, 2), (event.attempt, event.put_off))
        self.assertEqual(2, len({message.message_id for message in messages}))
        self.assertEqual((3, 0), (event.next_try().attempt, event.next_try().put_off))

    def test_parked(self) -> None:
        """A parked webhook has its reason, and begins anew when it is moved back."""
        parked = Event.of(record()).next_try().next_try().parked("failed", 1_769_850_000.5)
        self.assertEqual("failed", parked.headers["pg-reason"])
        self.assertEqual(Event.of(record()), Event.told_by(parked))

    def test_others(self) -> None:
        """A message without ids, or with malformed ones, is no webhook; counts that are none are forgotten."""
        headers: dict[str, Any] = {"pg-webhook-id": "m", "pg-webhook": "done a"}
        for wrong in (
            {}, {"pg-webhook-id": "m"}, {"pg-webhook": "done a"}, {**headers, "pg-webhook-id": 5},
            {**headers, "pg-webhook-id": "a\r\nb"}, {**headers, "pg-webhook-id": "ä"}, {**headers, "pg-webhook": ""},
        ):  # fmt: skip
            self.assertRaises(ValueError, Event.told_by, Message(b"{}", wrong, correlation_id="c"))
        self.assertRaises(ValueError, Event.told_by, Message(b"{}", headers, correlation_id=None))
        for count in (-1, 0, "7", True, None, 2**62, 1.5):
            event = Event.told_by(Message(b"{}", {**headers, "pg-try": count, "pg-put-off": count}, correlation_id="c"))
            self.assertEqual((1, 0), (event.attempt, event.put_off), repr(count))
