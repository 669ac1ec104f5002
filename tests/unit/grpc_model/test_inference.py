"""Tests of ``inference_request``, ``inference_response`` and ``tensor_json`` of ``provider_gateway.grpc_model``."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.grpc_model.errors import InvalidInference
from provider_gateway.grpc_model.inference_request import infer_request
from provider_gateway.grpc_model.inference_response import NotText, OverLimit, infer_response
from provider_gateway.grpc_model.messages import ModelInferRequest, ModelInferResponse

TYPED = {
    "BOOL": ([True, False], "bool_contents"),
    "UINT8": ([0, 255], "uint_contents"),
    "UINT16": ([0, 65535], "uint_contents"),
    "UINT32": ([0, 2**32 - 1], "uint_contents"),
    "UINT64": ([0, 2**64 - 1], "uint64_contents"),
    "INT8": ([-128, 127], "int_contents"),
    "INT16": ([-(2**15), 2**15 - 1], "int_contents"),
    "INT32": ([-(2**31), 2**31 - 1], "int_contents"),
    "INT64": ([-(2**63), 2**63 - 1], "int64_contents"),
    "FP32": ([1, -0.5], "fp32_contents"),
    "FP64": ([0.1, 1e308], "fp64_contents"),
}


def tensor(datatype: str, shape: Any, data: Any = None, **more: Any) -> dict[str, Any]:
    """An input or output in JSON."""
    return {"name": "x", "datatype": datatype, "shape": shape, **({} if data is None else {"data": data}), **more}


def encoded(*inputs: dict[str, Any], binary: bytes | None = None, **more: Any) -> tuple[bytes, Any]:
    """What is made of a request with these inputs."""
    text = json.dumps({"inputs": inputs, **more}).encode()
    if binary is None:
        return infer_request(text, None, model="m")
    return infer_request(text + binary, str(len(text)), model="m")


def request(*inputs: dict[str, Any], binary: bytes | None = None, **more: Any) -> Any:
    """The message for a request with these inputs."""
    return ModelInferRequest.FromString(encoded(*inputs, binary=binary, **more)[0])


class RequestTests(SynchronousTestCase):
    """REST requests as messages."""

    def test_typed(self) -> None:
        """In JSON, elements of each type go into the field that the protocol has for it."""
        for name, (values, field) in TYPED.items():
            made = request(tensor(name, [2], values))
            (given,) = made.inputs
            self.assertEqual((given.name, given.datatype, list(given.shape)), ("x", name, [2]))
            self.assertEqual(list(getattr(given.contents, field)), values)
            self.assertEqual(list(made.raw_input_contents), [])
        made = request(tensor("BYTES", [2], ["", "grün"]))
        self.assertEqual(list(made.inputs[0].contents.bytes_contents), [b"", "grün".encode()])

    def test_raw(self) -> None:
        """FP16 and BF16 have the raw form only; then all tensors of the request have it."""
        made = request(tensor("FP16", [1], [1.5]), tensor("BF16", [1], [1]), tensor("BYTES", [1], ["a"]))
        self.assertEqual(list(made.raw_input_contents), [b"\x00\x3e", b"\x80\x3f", b"\1\0\0\0a"])
        self.assertFalse(any(each.HasField("contents") for each in made.inputs))

    def test_nested(self) -> None:
        """Elements may be nested as the shape says, or be one list; a scalar has one."""
        for shape, data in (
            ([2, 3], [1, 2, 3, 4, 5, 6]),
            ([2, 3], [[1, 2, 3], [4, 5, 6]]),
            ([1, 2, 3, 1], [[[[1], [2], [3]], [[4], [5], [6]]]]),
        ):
            self.assertEqual(
                list(request(tensor("INT32", shape, data)).inputs[0].contents.int_contents), [*range(1, 7)]
            )
        self.assertEqual(list(request(tensor("INT32", [], [7])).inputs[0].contents.int_contents), [7])
        for shape, data in (([0], []), ([0, 3], []), ([2, 0], [[], []])):
            self.assertEqual(list(request(tensor("FP32", shape, data)).inputs[0].shape), shape)

    def test_members(self) -> None:
        """Id, parameters of every kind and requested outputs go along; those of REST's binary form do not."""
        made = request(
            tensor("INT8", [1], [1], parameters={"content_type": "np"}),
            id="7",
            parameters={"a": True, "b": -1, "c": 1.5, "d": "x", "e": 2**64 - 1, "binary_data_output": True},
            outputs=[{"name": "y", "parameters": {"binary_data": True, "classification": 3}}, {"name": "z"}],
            unknown={"is": "ignored"},
        )
        self.assertEqual((made.model_name, made.model_version, made.id), ("m", "", "7"))
        kinds = {name: each.WhichOneof("choice") for name, each in made.parameters.items()}
        self.assertEqual(
            kinds,
            {"a": "bool_param", "b": "int64_param", "c": "double_param", "d": "string_param", "e": "uint64_param"},
        )
        self.assertEqual(made.inputs[0].parameters["content_type"].string_param, "np")
        self.assertEqual([each.name for each in made.outputs], ["y", "z"])
        self.assertEqual(list(made.outputs[0].parameters), ["classification"])

    def test_null(self) -> None:
        """What pydantic's models write for members that are not set stands for none, as model servers read it."""
        given = tensor("INT8", [1], [1], parameters=None)
        output = {"name": "y", "parameters": None}
        made = request(given, id=None, parameters=None, outputs=[output])
        self.assertEqual((made.id, len(made.parameters), len(made.inputs[0].parameters)), ("", 0, 0))
        self.assertEqual([each.name for each in made.outputs], ["y"])
        self.assertEqual(request(given, outputs=None).inputs[0].name, "x")

    def test_binary(self) -> None:
        """Binary data go on byte for byte, in the order of the inputs; a tensor in JSON may be among them."""
        made = request(
            tensor("FP32", [1], parameters={"binary_data_size": 4}),
            tensor("INT16", [2], [1, -1]),
            tensor("BYTES", [1], parameters={"binary_data_size": 5}),
            tensor("INT8", [0], parameters={"binary_data_size": 0}),
            binary=b"\0\0\xc0\x7f" + b"\1\0\0\0\xff",
        )
        self.assertEqual(list(made.raw_input_contents), [b"\0\0\xc0\x7f", b"\1\0\xff\xff", b"\1\0\0\0\xff", b""])
        self.assertEqual(list(made.inputs[0].parameters), [])

    def test_which_outputs_are_binary(self) -> None:
        """An output is wanted as binary data if it is named so, or all are and it is not named otherwise."""
        _, wanted = encoded(tensor("INT8", [1], [1]))
        self.assertFalse(wanted.is_binary("y"))
        outputs = [
            {"name": "y", "parameters": {"binary_data": False}},
            {"name": "z", "parameters": {"binary_data": True}},
        ]
        _, wanted = encoded(tensor("INT8", [1], [1]), parameters={"binary_data_output": True}, outputs=outputs)
        self.assertEqual([wanted.is_binary(name) for name in ("x", "y", "z")], [True, False, True])
        _, wanted = encoded(tensor("INT8", [1], [1]), outputs=outputs)
        self.assertEqual([wanted.is_binary(name) for name in ("x", "y", "z")], [False, False, True])

    def refused(self, *inputs: Any, **more: Any) -> str:
        """The one line about a request that is none."""
        error = str(self.assertRaises(InvalidInference, encoded, *inputs, **more))
        self.assertNotIn("\n", error)
        self.assertLess(len(error), 500)
        return error

    def test_tensors_that_are_none(self) -> None:
        """What is wrong with a tensor is said in one line, with its name and what is expected."""
        for given, part in (
            (tensor("FP33", [1], [1]), "expected one of BOOL, UINT8"),
            (tensor("INT8", [2], [1]), "the shape [2] has 2 elements, and there are 1"),
            (tensor("INT8", [2, 2], [[1, 2], [3]]), "dimension 2"),
            (tensor("INT8", [2, 2], [[1], [2], [3], [4]]), "dimension 2"),
            (tensor("INT8", [4], [[1, 2], [3, 4]]), "Expected `int`, got `array`"),
            (tensor("INT8", [-1], [1]), "dimensions from 0 on"),
            (tensor("INT8", [2**70], [1]), "dimensions from 0 on"),
            (tensor("INT8", [1] * 65, [1]), "at most 64 dimensions"),
            (tensor("INT8", [1], [128]), "128 is out of the range of INT8"),
            (tensor("UINT64", [1], [-1]), "-1 is out of the range of UINT64"),
            (tensor("FP32", [1], [1e39]), "out of the range of FP32"),
            (tensor("FP16", [1], [70000]), "out of the range of FP16"),
            (tensor("INT8", [1], [1.5]), "Expected `int`, got `float` - at `$[0]`"),
            (tensor("INT8", [1], [True]), "Expected `int`, got `bool`"),
            (tensor("INT8", [1], ["1"]), "Expected `int`, got `str`"),
            (tensor("INT8", [1], [None]), "got `null`"),
            (tensor("FP32", [1], [True]), "Expected `float`, got `bool`"),
            (tensor("BOOL", [1], [1]), "Expected `bool`, got `int`"),
            (tensor("BYTES", [1], [1]), "Expected `str`, got `int`"),
            (tensor("INT8", [1], 1), "Expected `array`"),
            (tensor("INT8", [1]), "binary_data_size"),
        ):
            line = self.refused(given)
            self.assertIn("input 'x': ", line)
            self.assertIn(part, line)

    def test_bodies_that_are_none(self) -> None:
        """What is wrong with a body is said in one line."""
        for body, part in (
            (b"", "truncated"),
            (b"{}", "missing required field `inputs`"),
            (b"[]", "Expected `object`"),
            (b'{"inputs": [{"name": "x"}]}', "at `$.inputs[0]`"),
            (b'{"inputs": [{"name": 1, "shape": [], "datatype": "INT8"}]}', "`$.inputs[0].name`"),
            (b'{"inputs": [], "parameters": {"a": [1]}}', "$.parameters"),
            (b'{"inputs": [], "parameters": {"a": 99999999999999999999}}', "64 bits"),
            (b'{"inputs": "\xff"}', ""),
            (b"[" * 100_000, ""),
            (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": ' + b"[" * 100_000, ""),
        ):
            error = str(self.assertRaises(InvalidInference, infer_request, body, None, model="m"))
            self.assertIn(part, error)
            self.assertNotIn("\n", error)

    def test_binary_data_that_are_wrong(self) -> None:
        """Sizes that do not fit the body, the shape or the type are said in one line."""
        four = tensor("FP32", [1], parameters={"binary_data_size": 4})
        for inputs, binary, part in (
            ([four], b"123", "3 are left"),
            ([four], b"12345", "5 bytes follow the JSON, and the inputs name 4"),
            ([four, four], b"1234567", "3 are left"),
            ([tensor("FP32", [2], parameters={"binary_data_size": 4})], b"1234", "has 2 elements, and there are 1"),
            ([tensor("FP32", [1], parameters={"binary_data_size": 3})], b"123", "whole number"),
            ([tensor("BYTES", [1], parameters={"binary_data_size": 3})], b"123", "cut off"),
            ([tensor("FP32", [1], parameters={"binary_data_size": -4})], b"1234", "expected a number of bytes"),
            ([tensor("FP32", [1], parameters={"binary_data_size": True})], b"1", "expected a number of bytes"),
            ([tensor("FP32", [1], parameters={"binary_data_size": "4"})], b"1234", "expected a number of bytes"),
        ):
            self.assertIn(part, self.refused(*inputs, binary=binary))
        for length in ("x", "-1", "1.5", "", "9" * 30, "٣", "100"):
            error = self.assertRaises(InvalidInference, infer_request, b"{}", length, model="m")
            self.assertIn("Inference-Header-Content-Length", str(error))

    def test_many_dimensions(self) -> None:
        """A shape with very many dimensions is refused at once: their product would take minutes."""
        for more in ({"data": []}, {"parameters": {"binary_data_size": 0}}):
            given = tensor("FP32", 50_000 * [2**62], **more)
            self.assertIn("at most 64 dimensions", self.refused(given))
        response = ModelInferResponse()
        response.outputs.add(name="y", datatype="FP32", shape=50_000 * [2**62])
        _, wanted = encoded(tensor("INT8", [1], [1]))
        error = self.assertRaises(ValueError, infer_response, response.SerializeToString(), wanted, 10_000)
        self.assertIn("at most 64 dimensions", str(error))


class ResponseTests(SynchronousTestCase):
    """Messages as REST responses."""

    def setUp(self) -> None:
        self.message = ModelInferResponse(model_name="m")
        _, self.wanted = encoded(tensor("INT8", [1], [1]))
        _, self.binary = encoded(tensor("INT8", [1], [1]), parameters={"binary_data_output": True})

    def add(self, datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> Any:
        """Add an output."""
        output = self.message.outputs.add(name="y", datatype=datatype, shape=shape)
        for field, values in contents.items():
            getattr(output.contents, field).extend(values)
        if raw is not None:
            self.message.raw_output_contents.append(raw)
        return output

    def document(self, max_bytes: int = 10_000) -> Any:
        """The JSON of the response."""
        body, length = infer_response(self.message.SerializeToString(), self.wanted, max_bytes)
        self.assertIsNone(length)
        return json.loads(body)

    def test_typed(self) -> None:
        """Elements of every type's field become JSON, in one list."""
        for name, (values, field) in TYPED.items():
            self.setUp()
            self.add(name, [2, 1], **{field: values})
            expected = {"name": "y", "datatype": name, "shape": [2, 1], "data": values}
            self.assertEqual(self.document(), {"model_name": "m", "outputs": [expected]})
        self.setUp()
        self.add("BYTES", [2], bytes_contents=[b"", "grün".encode()])
        self.assertEqual(self.document()["outputs"][0]["data"], ["", "grün"])

    def test_raw(self) -> None:
        """So do elements in the raw form, FP16 and BF16 included."""
        self.add("FP16", [1], b"\x00\x3e")
        self.add("BF16", [1], b"\x80\x3f")
        self.add("BYTES", [1], b"\1\0\0\0a")
        self.add("BOOL", [2], b"\0\1")
        self.assertEqual([each["data"] for each in self.document()["outputs"]], [[1.5], [1], ["a"], [False, True]])

    def test_members(self) -> None:
        """Version, id and parameters are there if they have a value."""
        self.message.model_version, self.message.id = "3", "7"
        self.message.parameters["a"].int64_param = 1
        self.message.parameters["none"].SetInParent()
        self.add("INT8", [1], int_contents=[1]).parameters["b"].string_param = "c"
        document = self.document()
        self.assertEqual((document["model_version"], document["id"], document["parameters"]), ("3", "7", {"a": 1}))
        self.assertEqual(document["outputs"][0]["parameters"], {"b": "c"})

    def test_no_numbers(self) -> None:
        """Infinity and NaN, which JSON does not have, become null."""
        self.add("FP32", [3], fp32_contents=[float("inf"), float("nan"), 1])
        self.assertEqual(self.document()["outputs"][0]["data"], [None, None, 1])

    def test_binary(self) -> None:
        """Outputs that are wanted as binary data follow the JSON, byte for byte, whichever form they have."""
        self.add("FP32", [1], b"\0\0\xc0\x7f")
        self.add("BYTES", [1], b"\1\0\0\0\xff")
        body, length = infer_response(self.message.SerializeToString(), self.binary, 10_000)
        assert length is not None
        document = json.loads(body[:length])
        self.assertEqual(body[length:], b"\0\0\xc0\x7f\1\0\0\0\xff")
        self.assertEqual(
            [each["parameters"] for each in document["outputs"]], [{"binary_data_size": 4}, {"binary_data_size": 5}]
        )
        self.assertNotIn("data", document["outputs"][0])
        self.setUp()
        self.add("INT16", [2], int_contents=[1, -1])
        body, length = infer_response(self.message.SerializeToString(), self.binary, 10_000)
        self.assertEqual(body[length:], b"\1\0\xff\xff")

    def test_not_text(self) -> None:
        """Bytes that JSON cannot hold are an error that says how to ask for them."""
        self.add("BYTES", [1], bytes_contents=[b"\xff"])
        self.assertIn('"binary_data": true', str(self.assertRaises(NotText, self.document)))

    def test_malformed(self) -> None:
        """What is wrong with a response is said in one line."""
        for kind, shape, raw, contents, part in (
            ("FP33", [1], None, {}, "expected one of"),
            ("INT8", [2], None, {"int_contents": [1]}, "has 2 elements, and there are 1"),
            ("INT8", [1], None, {"fp32_contents": [1]}, "has 1 elements, and there are 0"),
            ("INT8", [-1], None, {"int_contents": [1]}, "from 0 on"),
            ("INT16", [1], b"1", {}, "whole number"),
            ("FP16", [1], None, {"fp32_contents": [1]}, "raw_output_contents"),
            ("FP16", [1], None, {}, "there are 0"),
            ("BYTES", [1], b"1", {}, "cut off"),
        ):
            self.setUp()
            self.add(kind, shape, raw, **contents)
            error = str(self.assertRaises(ValueError, self.document))
            self.assertIn("output 'y'", error)
            self.assertIn(part, error)
        self.setUp()
        self.add("INT8", [1], b"1")
        self.add("INT8", [1])
        self.assertIn("2 outputs and 1 raw", str(self.assertRaises(ValueError, self.document)))
        self.assertIn(
            "no ModelInferResponse", str(self.assertRaises(ValueError, infer_response, b"\xff", self.wanted, 10))
        )

    def test_over_the_limit(self) -> None:
        """A body that would be larger than the limit is refused, in JSON before it is made."""
        self.add("INT8", [100], b"\1" * 100)
        self.assertRaises(OverLimit, self.document, 199)
        self.assertRaises(OverLimit, self.document, 250)
        self.document(300)
        body, _ = infer_response(self.message.SerializeToString(), self.binary, 10_000)
        infer_response(self.message.SerializeToString(), self.binary, len(body))
        self.assertRaises(OverLimit, infer_response, self.message.SerializeToString(), self.binary, len(body) - 1)
