"""Requests that are recorded before they are published, and the records of those whose callers got no answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provider_gateway.content_codings import accepted_codings
from provider_gateway.errors import (
    DeadlinePassed,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
    Unavailable,
)
from provider_gateway.gateway.admission import owner_of
from provider_gateway.gateway.json_body import LARGE
from provider_gateway.gateway.status_document import locate
from provider_gateway.results.errors import IdempotencyInProgress, NotConfirmed, may_be_accepted
from provider_gateway.results.idempotency import idempotency_key, is_accepted

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.errors import GatewayError
    from provider_gateway.gateway.admission import Admission
    from provider_gateway.gateway.kept_answers import KeptAnswers
    from provider_gateway.gateway.request_message import RequestMessages
    from provider_gateway.gateway.request_terms import RequestTerms
    from provider_gateway.message.message import Message
    from provider_gateway.results.idempotency import IdempotencyKey
    from provider_gateway.results.results import Results
    from provider_gateway.results.submissions import Submission
    from provider_gateway.store.records import Record
    from provider_gateway.topology.routing import Routes


class RecordedRequests:
    """Serves requests that can be asked for later.

    Args:
        reply_timeout: seconds that a caller waits at most.
    """

    def __init__(
        self,
        results: Results,
        answers: KeptAnswers,
        *,
        admission: Admission,
        messages: RequestMessages,
        routes: Routes,
        reply_timeout: float,
        clock: IReactorTime,
    ) -> None:
        self._results = results
        self._answers = answers
        self._admission = admission
        self._messages = messages
        self._routes = routes
        self._reply_timeout = reply_timeout
        self._clock = clock

    async def predict(self, request: Any, routing_key: str, terms: RequestTerms) -> bytes:
        """Record and publish a request, and wait for its answer as long as its caller wants to.

        The request goes on if the caller leaves.

        Raises:
            StoreUnavailable: the store is away, and nothing was published.
            IdempotencyKeyReused: the key belongs to a request with another body.
            IdempotencyInProgress: the request with the same key was not answered in time.
            DeadlinePassed: this request was not answered in time.
            GatewayError: of the check of the body, or the publish.
        """
        ends = self._clock.seconds() + terms.seconds(self._reply_timeout)
        if request.body_size > LARGE:
            await self._messages.check_in_turns(request, routing_key)
        accepted = accepted_codings(request.requestHeaders.getRawHeaders(b"Accept-Encoding"))
        submission = await self._submit(request, routing_key, terms)
        record, existing = submission.record, submission.existing
        request.correlation_id = record.id
        try:
            if not record.status.is_final and self._clock.seconds() < ends:
                record = await self._waited_for(submission, ends - self._clock.seconds(), terms)
            if record.status.is_final:
                body = await self._answers.result(request, record, accepted)
                if existing:
                    request.setHeader("Idempotent-Replayed", "true")
                return body
        except StoreUnavailable:
            if existing:
                raise  # nothing was accepted now: it may be repeated
        # Ours is accepted, also if the store could not note that.
        if terms.preferences.is_async and (not existing or is_accepted(record)):
            return self._answers.accepted(request, record, _applied(terms, self._reply_timeout))
        error = self._no_answer(ends, existing=existing)
        locate(error, record.id)
        raise error

    async def _submit(self, request: Any, routing_key: str, terms: RequestTerms) -> Submission:
        webhook = None if terms.webhook is None else self._admission.endpoint(request, terms.webhook)
        message = self._messages.take(
            request, routing_key, self._results.results_queue, has_deadline=terms.has_deadline
        )
        assert message.correlation_id is not None
        owner = owner_of(request)
        key = terms.key
        record = self._results.new_record(
            message.correlation_id,
            owner=owner,
            routing_key=routing_key,
            rquid=request.rquid,
            webhook=webhook,
            key=None if key is None else self._key(owner, routing_key, key, message),
        )
        try:
            return await self._results.submit(message, self._routes.exchange(routing_key), record)
        except NotConfirmed as error:
            if error.request_id is not None:
                locate(error, error.request_id)
            raise

    @staticmethod
    def _key(owner: str | None, routing_key: str, key: str, message: Message) -> IdempotencyKey:
        assert message.content_type is not None
        return idempotency_key(
            owner, routing_key, key, message.content_type, message.body, coding=message.content_encoding
        )

    async def _waited_for(self, submission: Submission, seconds: float, terms: RequestTerms) -> Record:
        # A caller that takes 202 for an answer gets it at a drain; others wait as long as those without a record do.
        record = await self._results.wait(submission.record.id, seconds, ends_at_drain=terms.preferences.is_async)
        if record is not None:
            return record
        if submission.existing:
            msg = "The request with the same Idempotency-Key was not accepted; send this one again."
            raise Unavailable(msg)
        msg = f"The request {submission.record.id} was erased."
        raise NotFound(msg)

    def _no_answer(self, ends: float, *, existing: bool) -> GatewayError:
        """The error for a caller that takes nothing but the answer."""
        if existing:
            msg = "The request with the same Idempotency-Key has not been answered yet."
            return IdempotencyInProgress(msg)
        if self._clock.seconds() < ends:
            msg = "This instance stops waiting for the answer; the request may still be executed."
            return OutcomeUnknown(msg)
        msg = f"No reply within {self._reply_timeout:g} s. The request may still be executed."
        return DeadlinePassed(msg)

    async def keep(self, request: Any, routing_key: str, error: GatewayError, *, is_confirmed: bool) -> None:
        """Record a request that ended with 504, so that its answer is kept, and have the error name it.

        With a store that is away the error names nothing. To be called in the turn in which the call ended.

        Args:
            is_confirmed: True if the broker has its message.
        """
        if not may_be_accepted(error):
            return  # there is no answer to come
        record = self._results.new_record(
            request.correlation_id, owner=owner_of(request), routing_key=routing_key, rquid=request.rquid
        )
        age = self._clock.seconds() - request.received_at
        record = replace(record, created=record.created - age)
        if await self._results.keeping.keep(record, is_confirmed=is_confirmed):
            locate(error, record.id)


def _applied(terms: RequestTerms, reply_timeout: float) -> str:
    """The preferences that a 202 honours (RFC 7240, 3)."""
    asked, wait = terms.preferences
    honoured = ["respond-async"] if asked else []
    if wait is not None:
        honoured.append(f"wait={terms.seconds(reply_timeout):g}")
    return ", ".join(honoured)
