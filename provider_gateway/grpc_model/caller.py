"""One gRPC call of a model, as all protocols make it: time limit, cancellation, room for a large answer, statuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from provider_gateway.deadlines import Deadlines
from provider_gateway.errors import HeadersTooLarge, ModelFailure, ModelUnreachable
from provider_gateway.grpc_model.metadata import from_metadata
from provider_gateway.grpc_model.statuses import caller_error, failure, is_lost, is_our_deadline
from provider_gateway.http_client.body import SMALL
from provider_gateway.message.http_headers import JSON
from provider_gateway.model.model import ModelResponse
from provider_gateway.model.model_errors import ModelErrors

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from provider_gateway.clocks import WallClock
    from provider_gateway.grpc_model.channel import Answer, Call, Channel
    from provider_gateway.grpc_model.metadata import Metadata

#: Seconds by which a server may notice a call's time limit before us: gRPC counts milliseconds, and clocks differ.
_EARLY = 0.01


class Caller:
    """Calls a model's methods.

    Args:
        clock: measures the time limit of calls.
        max_body_bytes: limit of an answer's body. A larger body is a failure.
        wall_clock, errors: see :class:`~provider_gateway.model.model.Model`.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        clock: Any,
        max_body_bytes: int,
        wall_clock: WallClock,
        errors: ModelErrors | None = None,
    ) -> None:
        self._channel = channel
        self.max_body_bytes = max_body_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self._errors = errors or ModelErrors()
        #: By time limit in seconds. Each queue has one.
        self._deadlines: dict[float, Deadlines[Call]] = {}

    async def call(
        self, method: str, request: bytes, metadata: Metadata, timeout: float
    ) -> tuple[bytes, dict[str, str]] | ModelResponse:
        """Call a method.

        Args:
            request: the encoded message.
            timeout: time limit in seconds for connection and answer together.

        Returns:
            The encoded answer and its headers; or a response that says what is wrong with the request.

        Raises:
            ModelBusy, ModelUnreachable, ModelFailure, CancelledError: as
                :meth:`provider_gateway.model.model.Model.call` raises them.
        """
        answer = await self.answer(method, request, metadata, timeout)
        try:
            headers = from_metadata(answer.metadata)
        except HeadersTooLarge as error:
            msg = f"The model's answer cannot be passed on. {error}"
            raise ModelFailure(msg, "body") from None
        if answer.code == "OK":
            return answer.body, headers
        status = caller_error(answer)
        if status is not None:
            return self.rejected(status, answer.details, headers)
        raise failure(answer, self._wall_clock, self.max_body_bytes, self._errors)

    def rejected(self, status: int, text: str, headers: dict[str, str]) -> ModelResponse:
        """The response for a caller's mistake, in the form that the Open Inference Protocol has over REST."""
        said = self._errors.for_log(self._errors.of_text(text))
        return ModelResponse(status, json.dumps({"error": text}).encode(), JSON, headers, model_error=said)

    def said(self, text: str) -> str:
        """What a server says, in one line without secrets."""
        return self._errors.of_text(text)

    async def answer(self, method: str, request: bytes, metadata: Metadata, timeout: float) -> Answer:
        """Call a method, whatever the status of its answer.

        Raises:
            ModelUnreachable, ModelFailure: the time limit has passed.
            CancelledError: the caller cancelled the call.
        """
        deadlines = self._deadlines.get(timeout)
        if deadlines is None:
            deadlines = self._deadlines[timeout] = Deadlines(self._clock, timeout, _cancel)
        call = self._channel.begin(method, request, metadata, timeout)
        deadlines.start(call)
        try:
            answer = await call.answered
        except CancelledError as error:
            # Its traceback holds this frame, and with it the request, until the garbage collector comes.
            error.__traceback__ = None
            if deadlines.stop(call):
                raise CancelledError from None  # the time limit had not passed: the caller cancelled
            raise await self._timed_out(call, timeout) from None
        finally:
            deadlines.stop(call)
        if is_our_deadline(answer):  # gRPC knows the time limit, too, and may notice first
            raise await self._timed_out(call, timeout)
        if is_lost(answer) and self._clock.seconds() - call.began >= timeout - _EARLY:
            # So does the server: one that is about to end closes the connection with its last call.
            raise ModelFailure(_late(timeout), "timeout", self._errors.of_text(answer.details))
        return answer

    async def _timed_out(self, call: Call, timeout: float) -> ModelFailure:
        if not await self._channel.was_sent(call):
            return ModelUnreachable(_late(timeout), "the connection was not made by then", reason="timeout")
        return ModelFailure(_late(timeout), "timeout")


async def take_room(room: Callable[[int], Deferred[None] | None], size: int) -> None:
    """Wait for room for an answer's body, if it is large. It has arrived: no time limit runs.

    Args:
        room: see :class:`.CappedBody`.
    """
    if size > SMALL and (waiting := room(size)) is not None:
        await waiting


def _late(timeout: float) -> str:
    return f"The model did not answer within {timeout:g} s."


def _cancel(call: Call) -> None:
    call.answered.cancel()
