"""Reads the JSON of an inference request as the Open Inference Protocol's REST form has it, and the tensors in it.

Pure. What a text may be is said once, as types of msgspec, whose errors name the place.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from provider_gateway.grpc_model.datatypes import DATATYPES, Datatype

if TYPE_CHECKING:
    from collections.abc import Sequence

Parameter = bool | int | float | str
#: Pydantic's models write null for what is not set, and servers made with them read it.
Parameters = dict[str, Parameter] | None

#: The beginning of a list of lists.
_NESTED = re.compile(rb"\s*\[\s*\[")
#: Dimensions of a tensor. Frameworks have at most 64; to multiply very many would take minutes.
_MAX_DIMENSIONS = 64


class Input(msgspec.Struct):
    """An input tensor.

    Attributes:
        data: as it stands in the text; UNSET if it is not there.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class RequestedOutput(msgspec.Struct):
    """An output tensor that is asked for."""

    name: str
    parameters: Parameters = None


class InferRequest(msgspec.Struct):
    """An inference request."""

    inputs: list[Input]
    id: str | None = None
    parameters: Parameters = None
    outputs: list[RequestedOutput] | None = None


_DECODER = msgspec.json.Decoder(InferRequest)


def parse_request(text: bytes) -> InferRequest:
    """Read an inference request.

    Raises:
        ValueError: it is none.
    """
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def datatype_of(name: str) -> Datatype:
    """The data type with a name.

    Raises:
        ValueError: there is none.
    """
    found = DATATYPES.get(name)
    if found is None:
        msg = f"datatype: expected one of {', '.join(DATATYPES)}, found {ascii(name)[:40]}"
        raise ValueError(msg)
    return found


def elements_of(shape: Sequence[int]) -> int:
    """How many elements a tensor of a shape has.

    Raises:
        ValueError: there are too many dimensions, or one is negative, or larger than protobuf's numbers.
    """
    if len(shape) > _MAX_DIMENSIONS:
        msg = f"shape: expected at most {_MAX_DIMENSIONS} dimensions"
        raise ValueError(msg)
    if shape and not (min(shape) >= 0 and max(shape) < 2**63):
        msg = "shape: expected dimensions from 0 on"
        raise ValueError(msg)
    return math.prod(shape)


def check_count(found: int, shape: Sequence[int]) -> None:
    """Check the number of elements.

    Raises:
        ValueError: it is not that of the shape.
    """
    if found != (expected := elements_of(shape)):
        msg = f"the shape {list(shape)} has {expected} elements, and there are {found}"
        raise ValueError(msg)


def json_values(datatype: Datatype, shape: Sequence[int], data: bytes) -> list[Any]:
    """The elements of a tensor in JSON, in row-major order. They may be nested as the shape says, or in one list.

    Args:
        data: the JSON text.

    Raises:
        ValueError: it is no such list, an element has another type, or their number is another than the shape's.
    """
    elements_of(shape)  # a malformed shape is not read as one of nested lists
    depth = max(len(shape), 1) if _NESTED.match(data) else 1
    try:
        values = _decoder(datatype.element, depth).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    for index in range(depth - 1):
        if any(len(each) != shape[index + 1] for each in values):
            msg = f"data: not every list of dimension {index + 2} has the {shape[index + 1]} elements of the shape"
            raise ValueError(msg)
        values = list(chain.from_iterable(values))
    check_count(len(values), shape)
    return [each.encode() for each in values] if datatype.name == "BYTES" else values


@lru_cache(256)
def _decoder(element: type, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)
