"""Makes the ``ModelInferRequest`` of gRPC from the body of a REST request: JSON, or JSON and binary data.

Pure. The binary form is the extension that ``Inference-Header-Content-Length`` announces: the tensors' bytes follow the
JSON, in the order of the inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from provider_gateway.grpc_model.datatypes import check_range, elements_in, to_raw
from provider_gateway.grpc_model.errors import InvalidInference
from provider_gateway.grpc_model.messages import ModelInferRequest
from provider_gateway.grpc_model.tensor_json import check_count, datatype_of, json_values, parse_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.grpc_model.datatypes import Datatype
    from provider_gateway.grpc_model.tensor_json import InferRequest, Input, Parameter

#: The header with the length of the JSON before binary data.
JSON_LENGTH = "Inference-Header-Content-Length"
#: Parameters of REST's binary form. A gRPC server does not know them.
_SIZE, _WANTED, _ALL_WANTED = "binary_data_size", "binary_data", "binary_data_output"


class WantedForms:
    """In which form a caller wants output tensors.

    Args:
        request: what the caller sent.
    """

    def __init__(self, request: InferRequest) -> None:
        self._otherwise = (request.parameters or {}).get(_ALL_WANTED) is True
        self._by_name = {each.name: (each.parameters or {}).get(_WANTED) for each in request.outputs or ()}

    def is_binary(self, output: str) -> bool:
        """True if the output is wanted as binary data."""
        wanted = self._by_name.get(output)
        return self._otherwise if wanted is None else wanted is True


def infer_request(body: bytes, json_length: str | None, *, model: str) -> tuple[bytes, WantedForms]:
    """The encoded ``ModelInferRequest``, and in which form the outputs are wanted.

    Args:
        body: of the REST request.
        json_length: the value of its header :data:`JSON_LENGTH`; None without one: then all of it is JSON.
        model: the name of the model to call.

    Raises:
        InvalidInference: the body is no such request.
    """
    try:
        text, binary = _parts(body, json_length)
        given = parse_request(text)
        request = ModelInferRequest(model_name=model, id=given.id or "")
        put_parameters(request.parameters, given.parameters)
        for each in given.outputs or ():
            put_parameters(request.outputs.add(name=each.name).parameters, each.parameters)
        _put_inputs(request, given.inputs, binary)
        encoded: bytes = request.SerializeToString()
    except ValueError as error:
        msg = f"The body is no request of the Open Inference Protocol: {error}."
        raise InvalidInference(msg) from None
    return encoded, WantedForms(given)


def put_parameters(target: Any, parameters: Mapping[str, Parameter] | None) -> None:
    """Put parameters into a message's map, without those of REST's binary form.

    Raises:
        ValueError: a number has more than 64 bits.
    """
    for name, value in (parameters or {}).items():
        if name in (_SIZE, _WANTED, _ALL_WANTED):
            continue
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, str):
            target[name].string_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        elif -(2**63) <= value < 2**63:
            target[name].int64_param = value
        elif 0 <= value < 2**64:
            target[name].uint64_param = value
        else:
            msg = f"the parameter {name!r} has more than 64 bits"
            raise ValueError(msg)


def _parts(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON and the binary data of a body."""
    if json_length is None:
        return body, memoryview(b"")
    length = json_length.strip(" \t")
    if not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
        msg = f"{JSON_LENGTH}: expected the bytes of the JSON, at most the body's {len(body)}"
        raise ValueError(msg)
    return body[: int(length)], memoryview(body)[int(length) :]


def _put_inputs(request: Any, inputs: list[Input], binary: memoryview) -> None:
    """Put the tensors into a request.

    Raises:
        ValueError: one is malformed, or there are more or fewer binary data than the inputs name.
    """
    read: list[tuple[Any, Datatype, bytes | None, list[Any]]] = []
    position = 0
    for each in inputs:
        try:
            datatype = datatype_of(each.datatype)
            tensor = request.inputs.add(name=each.name, datatype=each.datatype)
            size = (each.parameters or {}).get(_SIZE)
            if size is None:
                if isinstance(each.data, msgspec.UnsetType):
                    msg = f"expected data, or binary data with the parameter {_SIZE}"
                    raise ValueError(msg)
                read.append((tensor, datatype, None, json_values(datatype, each.shape, bytes(each.data))))
            else:
                raw = _binary(size, binary[position:])
                position += len(raw)
                check_count(elements_in(datatype, raw), each.shape)
                read.append((tensor, datatype, raw, []))
            tensor.shape.extend(each.shape)
            put_parameters(tensor.parameters, each.parameters)
            check_range(datatype, read[-1][3])
        except ValueError as error:
            msg = f"input {each.name[:100]!r}: {error}"
            raise ValueError(msg) from None
    if position != len(binary):
        msg = f"{len(binary)} bytes follow the JSON, and the inputs name {position} ({_SIZE})"
        raise ValueError(msg)
    _put_contents(request, read)


def _binary(size: object, rest: memoryview) -> bytes:
    if type(size) is not int or not 0 <= size <= len(rest):
        msg = f"{_SIZE}: expected a number of bytes, of which {len(rest)} are left, found {str(size)[:40]}"
        raise ValueError(msg)
    return bytes(rest[:size])


def _put_contents(request: Any, read: list[tuple[Any, Datatype, bytes | None, list[Any]]]) -> None:
    """Put the elements into a request: all tensors in the raw form, or all in the typed one.

    The typed form is for requests in JSON: not every server reads the raw one.
    """
    if all(raw is None and datatype.contents is not None for _, datatype, raw, _ in read):
        for tensor, datatype, _, values in read:
            getattr(tensor.contents, datatype.contents or "").extend(values)
        return
    for tensor, datatype, raw, values in read:
        try:
            request.raw_input_contents.append(to_raw(datatype, values) if raw is None else raw)
        except ValueError as error:
            msg = f"input {tensor.name[:100]!r}: {error}"
            raise ValueError(msg) from None
