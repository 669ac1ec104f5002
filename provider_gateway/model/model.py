"""Calls the model: one POST, with one time limit over the whole call and a limit on the response's body.

The URL is fixed: nothing in a message selects the host. Redirects are not followed, and cookies are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError

from provider_gateway.content_codings import asked_for
from provider_gateway.deadlines import Deadlines
from provider_gateway.errors import (
    HeadersTooLarge,
    ModelBusy,
    ModelFailure,
    ModelUnreachable,
    UnsupportedMediaType,
)
from provider_gateway.http_client.body import CappedBody
from provider_gateway.http_client.errors import (
    BodyOverLimit,
    ClosedBeforeResponse,
    HandshakeFailed,
    ResponseCutOff,
    ResponseError,
    UnrequestedCoding,
)
from provider_gateway.http_client.treq_post import CodedHeaders, TreqPost
from provider_gateway.message.http_headers import headers_from_http, headers_to_http, safe_content_type, text_of
from provider_gateway.message.ids import RQUID
from provider_gateway.message.message import PG_ACCEPT_ENCODING
from provider_gateway.model.model_errors import ModelErrors
from provider_gateway.model.retry_after import retry_after
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IResponse

    from provider_gateway.clocks import WallClock
    from provider_gateway.http_client.treq_post import TreqClient
    from provider_gateway.message.message import Message

#: A status below 500 that is a failure, since a later attempt may succeed (RFC 9110, 15.5.9).
_REQUEST_TIMEOUT = 408
#: Statuses of a model that takes no calls for now (RFC 6585, 4; RFC 9110, 15.6.4).
_BUSY = (429, 503)
_NO_ANSWER = "The model closed the connection without a valid HTTP answer."


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """The model's response, as far as it goes into a reply.

    Attributes:
        status: 2xx, or a 4xx that is the caller's error.
        body: the whole body.
        content_type: JSON's if the response had none, or a malformed one.
        headers: the headers that travel in a message.
        model_error: what a 4xx says, for log and parked message.
        content_encoding: content codings of the body; None if it has none.
    """

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]
    model_error: str = ""
    content_encoding: str | None = None


def _failure(error: ResponseError, *, has_headers: bool) -> ModelFailure:
    """The failure of a call whose response cannot be used.

    Args:
        has_headers: True if the response's headers had arrived, so its body failed.
    """
    if isinstance(error, UnrequestedCoding):
        codings = ", ".join(text_of(coding).lower() for coding in error.codings)
        msg = f"The model's answer has the Content-Encoding {codings}, which was not asked for."
        return ModelFailure(msg, "body")
    if isinstance(error, BodyOverLimit):
        return ModelFailure(f"The model's answer is larger than {error.max_bytes} bytes (MAX_BODY_BYTES).", "body")
    if has_headers:
        what = error.missing if isinstance(error, ResponseCutOff) else "its chunks are malformed"
        return ModelFailure(f"The model's answer broke off before its end: {what}.", "body", reason_of(error))
    return ModelFailure(_NO_ANSWER, "connection", reason_of(error))


def _counted() -> None:
    """The header was counted when the request was sent for the first time."""


def _content_type_header(message: Message) -> Any:
    """The content type of a message without the property: programs written for the seed's provider have it here."""
    named = (name for name in message.headers if len(name) == 12 and name.lower() == "content-type")
    return message.headers.get(next(named, None))  # type: ignore[arg-type] # None is no name


class _Call:
    """A call under way.

    Attributes:
        awaited: the Deferred of the response's headers, then the one of its body. Cancelling it ends the call.
        waits_for_room: True while the response waits, and the time limit with it.
    """

    __slots__ = ("awaited", "waits_for_room")

    def __init__(self, answered: Deferred[Any]) -> None:
        self.awaited = answered
        self.waits_for_room = False

    def cancel(self) -> None:
        self.awaited.cancel()


class Model:
    """The model behind one URL.

    Args:
        clock: measures the time limit of calls.
        client: from :func:`~provider_gateway.model.client.model_client`.
        url: where to send every call.
        max_body_bytes: limit of a response's body. A larger body is a failure.
        wall_clock: a date in ``Retry-After`` is compared with it, if the response has none of its own.
        on_unsafe_header: called for each header of a message that is malformed. It is not sent.
        errors: tells what the model says about its errors.
        headers: sent with each call, in place of a message's header of that name.
    """

    def __init__(
        self,
        clock: Any,
        client: TreqClient,
        *,
        url: str,
        max_body_bytes: int,
        wall_clock: WallClock,
        on_unsafe_header: Callable[[], object] = lambda: None,
        errors: ModelErrors | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._clock = clock
        self._post = TreqPost(client, url)
        self._max_body_bytes = max_body_bytes
        self._wall_clock = wall_clock
        self._on_unsafe_header = on_unsafe_header
        self._errors = errors or ModelErrors()
        self._headers = dict(headers or {})
        #: By time limit in seconds. Each queue has one.
        self._deadlines: dict[float, Deadlines[_Call]] = {}

    async def call(
        self,
        message: Message,
        rquid: str,
        timeout: float,
        room: Callable[[int], Deferred[None] | None] = lambda _: None,
        *,
        may_repeat: bool = False,
    ) -> ModelResponse:
        """Send a message's body to the model.

        Args:
            message: the body, its content type, and the headers to send.
            rquid: the request id to send.
            timeout: time limit in seconds for connecting, headers and body together.
            room: see :class:`.CappedBody`. While a large response waits, no time passes for the limit; then it begins
                anew.
            may_repeat: True if the model may be sent the request twice. Then it is sent once more, on a new connection,
                if the model closed a connection that had served other calls before the first byte of an answer
                (RFC 9112, 9.3.1): the model may have closed the idle connection just before.

        Returns:
            A result (2xx), or a 4xx that says what is wrong with the request.

        Raises:
            ModelBusy: its status was 429 or 503.
            ModelUnreachable: no connection to it could be made, within the time limit or at all; or the TLS handshake
                failed. It has not seen the request.
            ModelFailure: the call timed out; its status was 408, or neither 2xx nor 4xx; its response was malformed,
                incomplete, coded without being asked for, or too large.
            UnsupportedMediaType: the message's ``content_encoding`` is malformed. The model was not called.
            CancelledError: the caller cancelled the call.
        """
        deadlines = self._deadlines.get(timeout)
        if deadlines is None:
            deadlines = self._deadlines[timeout] = Deadlines(self._clock, timeout, _Call.cancel)
        call = _Call(self._request(message, rquid))
        deadlines.start(call)
        response: IResponse | None = None
        was_sent = False
        try:
            while response is None:
                try:
                    response = await call.awaited
                except ClosedBeforeResponse as error:
                    if not may_repeat:
                        raise
                    error.__traceback__ = None
                    was_sent = True
                    call.awaited = self._request(message, rquid, needs_new=True)
            body = CappedBody(self._max_body_bytes, partial(self._room, room, deadlines, call))
            call.awaited = body.done
            response.deliverBody(body)
            return self._judge(response, await body.done)
        except (CancelledError, ConnectingCancelledError) as error:
            # Its traceback holds this frame, and with it the message's body, until the garbage collector comes.
            error.__traceback__ = None
            if deadlines.stop(call) or call.waits_for_room:
                raise CancelledError from None  # the time limit had not passed: the caller cancelled
            msg = f"The model did not answer within {timeout:g} s."
            if isinstance(error, ConnectingCancelledError) and not was_sent:
                raise ModelUnreachable(msg, "the connection was not made by then", reason="timeout") from None
            raise ModelFailure(msg, "timeout") from None
        except (ConnectError, DNSLookupError, HandshakeFailed) as error:
            error.__traceback__ = None
            cause = reason_of(error)
            if isinstance(error, HandshakeFailed):
                cause = f"in the TLS handshake: {cause}"
            if was_sent:
                # The model may have seen it: a message that makes the model crash must use up its attempts.
                cause = f"the model closed a connection that was in use before; then: {cause}"
                raise ModelFailure(_NO_ANSWER, "connection", cause) from None
            msg = "The model cannot be reached."
            raise ModelUnreachable(msg, cause) from None
        except ResponseError as error:
            error.__traceback__ = None
            raise _failure(error, has_headers=response is not None) from None
        finally:
            deadlines.stop(call)

    @staticmethod
    def _room(
        room: Callable[[int], Deferred[None] | None], deadlines: Deadlines[_Call], call: _Call, size: int
    ) -> Deferred[None] | None:
        """Ask for room, and stop the time limit until there is some."""
        waiting = room(size)
        if waiting is not None:

            def go_on(result: None) -> None:
                call.waits_for_room = False
                deadlines.start(call)
                return result

            deadlines.stop(call)
            call.waits_for_room = True
            waiting.addCallback(go_on)
        return waiting

    def _request(self, message: Message, rquid: str, *, needs_new: bool = False) -> Deferred[Any]:
        try:
            coding = message.content_coding()
        except ValueError as error:
            raise UnsupportedMediaType(str(error)) from None
        on_unsafe_header = _counted if needs_new else self._on_unsafe_header
        headers = headers_to_http(message.headers, on_unsafe_header)
        content_type = message.content_type
        if content_type is None:
            content_type = _content_type_header(message)
        headers["Content-Type"] = safe_content_type(content_type)
        if coding is not None:
            headers["Content-Encoding"] = coding
        headers[RQUID] = rquid
        if self._headers:
            headers |= self._headers  # of names that differ in their case only, the last one is sent
        codings: tuple[str, ...] = ()
        if PG_ACCEPT_ENCODING in message.headers:
            codings = asked_for(message.headers[PG_ACCEPT_ENCODING])
        return self._post.send(headers, message.body, needs_new=needs_new, codings=codings)

    def _judge(self, response: IResponse, body: bytes) -> ModelResponse:
        status, received = response.code, response.headers
        if not (200 <= status < 300 or (400 <= status < 500 and status != _REQUEST_TIMEOUT and status not in _BUSY)):
            msg = f"The model answered with HTTP status {status}."
            failure = ModelFailure(msg, "status", model_status=status)
            if status in _BUSY:
                failure = ModelBusy(msg, retry_after(received, self._wall_clock), model_status=status)
            raise self._errors.tell(failure, self._errors.of_response(received, body))
        content_type = text_of(received.getRawHeaders(b"content-type", [b""])[0])
        try:
            headers = headers_from_http(received.getAllRawHeaders())
        except HeadersTooLarge as error:
            msg = f"The model's answer cannot be passed on. {error}"
            raise ModelFailure(msg, "body") from None
        content_type = safe_content_type(content_type)
        coding = received.coding if isinstance(received, CodedHeaders) else None
        if status < 300:
            return ModelResponse(status, body, content_type, headers, content_encoding=coding)
        said = self._errors.for_log(self._errors.of_response(received, body))
        return ModelResponse(status, body, content_type, headers, said, coding)
