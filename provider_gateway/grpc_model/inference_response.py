"""Makes the body of a REST response from the ``ModelInferResponse`` of gRPC: JSON, and binary data if that is wanted.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.message import DecodeError

from provider_gateway.grpc_model.datatypes import elements_in, from_raw, to_raw
from provider_gateway.grpc_model.messages import ModelInferResponse
from provider_gateway.grpc_model.tensor_json import check_count, datatype_of

if TYPE_CHECKING:
    from provider_gateway.grpc_model.datatypes import Datatype
    from provider_gateway.grpc_model.inference_request import WantedForms


class OverLimit(ValueError):
    """The body would be larger than the limit."""


class NotText(ValueError):
    """An output has bytes that JSON cannot hold, and was not asked for as binary data."""


def infer_response(encoded: bytes, wanted: WantedForms, max_bytes: int) -> tuple[bytes, int | None]:
    """The body of the response, and the length of the JSON in it; None if all of it is JSON.

    JSON has no infinity, and no NaN: they become null.

    Args:
        encoded: the ``ModelInferResponse``.
        wanted: in which form the caller wants the outputs.
        max_bytes: limit of the body.

    Raises:
        OverLimit: the body would be larger.
        NotText: see there.
        ValueError: the response is malformed.
    """
    try:
        response = ModelInferResponse.FromString(encoded)
    except DecodeError:
        msg = "it is no ModelInferResponse"
        raise ValueError(msg) from None
    raws = response.raw_output_contents
    if raws and len(raws) != len(response.outputs):
        msg = f"it has {len(response.outputs)} outputs and {len(raws)} raw_output_contents"
        raise ValueError(msg)
    outputs, binary, left = [], [], max_bytes
    for index, each in enumerate(response.outputs):
        try:
            output, data = _output(each, raws[index] if raws else None, left, is_binary=wanted.is_binary(each.name))
        except (OverLimit, NotText):
            raise
        except ValueError as error:
            msg = f"output {each.name[:100]!r}: {error}"
            raise ValueError(msg) from None
        outputs.append(output)
        binary.append(data)
        left -= len(data)
    document: dict[str, Any] = {"model_name": response.model_name}
    for name, value in (
        ("model_version", response.model_version),
        ("id", response.id),
        ("parameters", _parameters(response.parameters)),
    ):
        if value:
            document[name] = value
    text = msgspec.json.encode({**document, "outputs": outputs})
    body = b"".join((text, *binary))
    if len(body) > max_bytes:
        raise OverLimit
    has_binary = any("binary_data_size" in each.get("parameters", ()) for each in outputs)
    return body, len(text) if has_binary else None


def _output(tensor: Any, raw: bytes | None, left: int, *, is_binary: bool) -> tuple[dict[str, Any], bytes]:
    """The JSON of an output, and its binary data.

    Args:
        raw: its elements in the raw form; None if the tensor has them.
        left: bytes that the body may still have.

    Raises:
        ValueError: it is malformed; or as :func:`infer_response`.
    """
    datatype, shape = datatype_of(tensor.datatype), list(tensor.shape)
    typed = None if raw is not None else _typed(tensor, datatype)
    count = len(typed) if typed is not None else elements_in(datatype, raw or b"")
    check_count(count, shape)
    parameters = _parameters(tensor.parameters)
    output = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}
    if is_binary:
        data = raw if typed is None else to_raw(datatype, typed)
        assert data is not None, "one of the two forms is there"
        return {**output, "parameters": {**parameters, "binary_data_size": len(data)}}, data
    if 2 * count > left:  # each element takes a character and a comma, at least
        raise OverLimit
    values = from_raw(datatype, raw or b"") if typed is None else typed
    if datatype.name == "BYTES":
        try:
            values = [each.decode() for each in values]
        except UnicodeDecodeError:
            msg = (
                f"The model's output {tensor.name[:100]!r} has bytes that are not UTF-8, which JSON cannot hold. "
                'Ask for it with the parameter "binary_data": true.'
            )
            raise NotText(msg) from None
    return {**output, **({"parameters": parameters} if parameters else {}), "data": values}, b""


def _typed(tensor: Any, datatype: Datatype) -> list[Any]:
    """The elements in a tensor's own field.

    Raises:
        ValueError: the type has none.
    """
    if datatype.contents is None and not tensor.HasField("contents"):
        return []
    if datatype.contents is None:
        msg = f"{datatype.name} is only sent as raw_output_contents"
        raise ValueError(msg)
    return list(getattr(tensor.contents, datatype.contents))


def _parameters(given: Any) -> dict[str, bool | int | float | str]:
    """Parameters as JSON has them; without those that have no value."""
    return {name: getattr(each, kind) for name, each in given.items() if (kind := each.WhichOneof("choice"))}
