"""What the tests of submissions share: submissions over a fake publisher, with a store in memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.deferreds import Waiters
from provider_gateway.message.message import Message
from provider_gateway.results.idempotency import ACCEPT_WITHIN, idempotency_key
from provider_gateway.results.submissions import Submissions
from provider_gateway.results.unconfirmed import Unconfirmed
from provider_gateway.store.records import Record
from tests.support.fakes import FakePublisher
from tests.support.memory_store import MemoryStore
from tests.unit.results.base import NOW

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError


class FakeBrokerTestCase(SynchronousTestCase):
    """Submissions over a fake publisher."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(3600)
        self.publisher = FakePublisher()
        self.stored: list[Record] = []
        self.changed: list[str] = []
        self.news: Waiters[None] = Waiters()
        self.unconfirmed = Unconfirmed(self.store, self.clock, lambda: NOW + self.clock.seconds())
        self.submissions = self.new_submissions()

    def new_submissions(self, confirm_timeout: float = 90) -> Submissions:
        return Submissions(
            self.store,
            self.publisher,
            "response.results",
            self.unconfirmed,
            on_stored=self.stored.append,
            on_changed=self.change,
            accepted=self.accepted,
            confirm_timeout=confirm_timeout,
            clock=self.clock,
            wall_clock=lambda: NOW + self.clock.seconds(),
        )

    def change(self, id_: str) -> None:
        self.changed.append(id_)
        self.news.fire(None)

    async def accepted(self, id_: str, seconds: float) -> Record | None:
        with contextlib.suppress(DeferredTimeoutError):
            await self.news.wait().addTimeout(seconds, self.clock)
        return self.store.records.get(id_)

    def submit(
        self, id_: str = "c1", *, keyed: bool = False, body: bytes = b"{}", webhook: str | None = None
    ) -> Deferred[Any]:
        key = idempotency_key("ann", "work", "k1", "application/json", body) if keyed else None
        now = NOW + self.clock.seconds()
        record = Record(
            id=id_,
            owner="ann",
            routing_key="work",
            rquid="r1",
            created=now,
            expires=now + 3600,
            key=key.digest if key else None,
            fingerprint=key.fingerprint if key else None,
            key_expires=now + 7200 if key else None,
            accept_by=now + ACCEPT_WITHIN if key else None,
            webhook=webhook,
        )
        message = Message(body, correlation_id=id_, reply_to="response.results")
        return Deferred.fromCoroutine(self.submissions.submit(message, "ML.MQ", record))

    def error_of(self, submitted: Deferred[Any], error: GatewayError) -> None:
        """Let the newest publish fail."""
        self.publisher.fail(error)
        self.assertIs(self.failureResultOf(submitted).value, error)
