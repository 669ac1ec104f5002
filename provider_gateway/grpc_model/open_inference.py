"""A model that speaks the Open Inference Protocol over gRPC. Messages have the bodies that its REST form has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.errors import ModelFailure, UnsupportedMediaType
from provider_gateway.grpc_model.caller import take_room
from provider_gateway.grpc_model.inference_request import JSON_LENGTH, infer_request
from provider_gateway.grpc_model.inference_response import NotText, OverLimit, infer_response
from provider_gateway.grpc_model.messages import (
    ModelReadyRequest,
    ModelReadyResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from provider_gateway.grpc_model.metadata import to_metadata
from provider_gateway.grpc_model.sent_headers import coding_of, sent_headers, text_header
from provider_gateway.grpc_model.statuses import too_large
from provider_gateway.message.http_headers import JSON
from provider_gateway.model.model import ModelResponse
from provider_gateway.model.readiness import AskedReadiness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from twisted.internet.defer import Deferred

    from provider_gateway.grpc_model.caller import Caller
    from provider_gateway.message.message import Message

_SERVICE = "/inference.GRPCInferenceService/"
#: The media type of a body with binary data, as Triton has it.
_BINARY = "application/octet-stream"


class OpenInferenceModel:
    """The model with a name, on one server.

    Args:
        name: its name there.
        headers: sent with each call, in place of a message's header of that name.
        on_unsafe_header: called for each header of a message that gRPC cannot send.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        name: str,
        headers: Mapping[str, str],
        on_unsafe_header: Callable[[], object] = lambda: None,
    ) -> None:
        self._caller = caller
        self._name = name
        self._headers = dict(headers)
        self._on_unsafe_header = on_unsafe_header

    async def call(
        self,
        message: Message,
        rquid: str,
        timeout: float,
        room: Callable[[int], Deferred[None] | None] = lambda _: None,
        *,
        may_repeat: bool = False,  # noqa: ARG002 - gRPC itself repeats a request that no server has seen
    ) -> ModelResponse:
        """Infer (:meth:`provider_gateway.model.model.Model.call`).

        Raises:
            InvalidInference: the body is no inference request. The model was not called.
            UnsupportedMediaType: the body has a content coding. The model was not called.
        """
        coding = coding_of(message)
        if coding is not None:
            msg = f"The body has the Content-Encoding {coding}; the model of this queue needs it without."
            raise UnsupportedMediaType(msg)
        json_length = text_header(message, JSON_LENGTH.lower())
        request, wanted = infer_request(message.body, json_length, model=self._name)
        headers = sent_headers(message, rquid, self._headers, self._on_unsafe_header)
        metadata = to_metadata(headers, self._on_unsafe_header)
        found = await self._caller.call(f"{_SERVICE}ModelInfer", request, metadata, timeout)
        if isinstance(found, ModelResponse):
            return found
        encoded, answered = found
        try:
            body, length = infer_response(encoded, wanted, self._caller.max_body_bytes)
        except OverLimit:
            raise too_large(self._caller.max_body_bytes) from None
        except NotText as error:
            return self._caller.rejected(400, str(error), answered)
        except ValueError as error:
            msg = f"The model's answer is malformed: {error}."
            raise ModelFailure(msg, "body") from None
        await take_room(room, len(body))
        if length is None:
            return ModelResponse(200, body, JSON, answered)
        return ModelResponse(200, body, _BINARY, {**answered, JSON_LENGTH: str(length)})


class OpenInferenceReadiness(AskedReadiness):
    """``ServerReady`` and ``ModelReady``.

    Args:
        where: names the model in the log.
    """

    def __init__(self, clock: Any, where: object, caller: Caller, name: str, headers: Mapping[str, str]) -> None:
        super().__init__(clock, where)
        self._caller = caller
        self._metadata = to_metadata(headers, lambda: None)
        self._questions = (
            ("ServerReady", ServerReadyRequest(), ServerReadyResponse),
            ("ModelReady", ModelReadyRequest(name=name), ModelReadyResponse),
        )

    async def reason(self) -> str | None:
        """Ask; returns why the model is not ready."""
        for method, request, kind in self._questions:
            encoded = request.SerializeToString()
            try:
                answer = await self._caller.answer(f"{_SERVICE}{method}", encoded, self._metadata, self.seconds)
            except ModelFailure as error:
                return f"{method}: {error.detail} {error.cause}".rstrip()
            if answer.code != "OK":
                return f"{method}: {answer.code}: {self._caller.said(answer.details)}"
            if not kind.FromString(answer.body).ready:
                return f"{method}: not ready"
        return None
