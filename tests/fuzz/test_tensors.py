"""Tensors of any kind, in their raw form and in JSON (``provider_gateway.grpc_model``)."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.grpc_model.datatypes import DATATYPES, from_raw, to_raw
from provider_gateway.grpc_model.errors import InvalidInference
from provider_gateway.grpc_model.inference_request import infer_request
from provider_gateway.grpc_model.inference_response import infer_response
from tests.fuzz.profiles import fuzzed

if TYPE_CHECKING:
    from provider_gateway.grpc_model.datatypes import Datatype

FIXED = [each for each in DATATYPES.values() if each.size]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=9,
)
TENSOR = st.fixed_dictionaries(
    {"name": st.text(max_size=5) | ANY, "datatype": st.sampled_from([*DATATYPES, "X"]), "shape": ANY},
    optional={"data": ANY | st.lists(st.integers(), max_size=4), "parameters": ANY},
)


class TensorTests(SynchronousTestCase):
    """Properties of all inputs."""

    @fuzzed(200, values=st.lists(st.binary(max_size=9), max_size=9))
    def test_any_bytes(self, values: list[bytes]) -> None:
        """BYTES holds any bytes."""
        self.assertEqual(from_raw(DATATYPES["BYTES"], to_raw(DATATYPES["BYTES"], values)), values)

    @fuzzed(300, datatype=st.sampled_from(FIXED), raw=st.binary(max_size=64))
    def test_any_raw(self, datatype: Datatype, raw: bytes) -> None:
        """Any raw form of a right length is read, and is the same when it is written; but for infinity and NaN."""
        raw = raw[: len(raw) // datatype.size * datatype.size]
        values = from_raw(datatype, raw)
        if datatype.name != "BOOL" and not any(isinstance(each, float) and not math.isfinite(each) for each in values):
            self.assertEqual(to_raw(datatype, values), raw)

    @fuzzed(
        300, inputs=st.lists(TENSOR, max_size=3), binary=st.binary(max_size=9), length=st.none() | st.integers(-1, 300)
    )
    def test_any_request(self, inputs: list[Any], binary: bytes, length: int | None) -> None:
        """A body is made a request, or is refused in one line; nothing else happens."""
        body = (
            json.dumps({"inputs": inputs}, allow_nan=False, default=str).encode() + binary
            if _is_json(inputs)
            else binary
        )
        try:
            infer_request(body, None if length is None else str(length), model="m")
        except InvalidInference as error:
            self.assertEqual(len(str(error).splitlines()), 1)

    @fuzzed(300, encoded=st.binary(max_size=64))
    def test_any_response(self, encoded: bytes) -> None:
        """An answer of any bytes is read, or is an error."""
        _, wanted = infer_request(b'{"inputs": []}', None, model="m")
        try:
            infer_response(encoded, wanted, 1000)
        except ValueError:
            return


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
