"""The protobuf messages of the gRPC protocols, made from tables when this module is imported.

Generated code would be tied to the version of its generator, would need exceptions of every check of ours, and would
enter its names into protobuf's process-wide pool, where another library may have them already (tritonclient has). The
tables keep to protobuf's public API, and to a pool of their own. They leave out what is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields of each message by name: their number, and their type as protobuf writes it. A message in another one has a
#: dot in its name.
_Table = dict[str, dict[str, tuple[int, str]]]

#: https://github.com/kserve/open-inference-protocol: specification/protocol/open_inference_grpc.proto
_OPEN_INFERENCE: _Table = {
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "InferParameter": {
        "bool_param": (1, "oneof bool"),
        "int64_param": (2, "oneof int64"),
        "string_param": (3, "oneof string"),
        "double_param": (4, "oneof double"),
        "uint64_param": (5, "oneof uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "map InferParameter"),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferRequest.InferInputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
        "parameters": (4, "map InferParameter"),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest.InferRequestedOutputTensor": {
        "name": (1, "string"),
        "parameters": (2, "map InferParameter"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "map InferParameter"),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
        "parameters": (4, "map InferParameter"),
        "contents": (5, "InferTensorContents"),
    },
}

#: The interface that the seed's documents draw.
_MLSERVING: _Table = {
    "ModelInterfaceRequest": {"details": (1, "map string"), "data": (2, "bytes")},
    "ModelInterfaceResponse": {"data": (1, "bytes")},
}

#: gRPC's own health service. The status is an enumeration, which is a number in a message.
_HEALTH: _Table = {"HealthCheckResponse": {"status": (1, "int32")}}

_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}


def _add_field(message: DescriptorProto, package: str, full_name: str, name: str, number: int, kind: str) -> None:
    """Add a field to a message.

    Args:
        full_name: of the message, within the package.
        kind: the type, after ``repeated``, ``map`` (of texts to that type) or ``oneof`` (of the message's only one).
    """
    label, _, type_name = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    elif label:
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if label == "map":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add_field(entry, package, "", "key", 1, "string")
        _add_field(entry, package, "", "value", 2, type_name)
        type_name = f"{full_name}.{entry.name}"
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{type_name}"


def _classes(package: str, table: _Table) -> Mapping[str, Any]:
    """The classes of a package's messages, by name."""
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for full_name, fields in table.items():
        outer, _, name = full_name.rpartition(".")
        message = made[outer].nested_type.add(name=name) if outer else file.message_type.add(name=name)
        made[full_name] = message
        for field, (number, kind) in fields.items():
            _add_field(message, package, full_name, field, number, kind)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in table}


_inference = _classes("inference", _OPEN_INFERENCE)
_mlserving = _classes("mlserving", _MLSERVING)
_health = _classes("grpc.health.v1", _HEALTH)

# Their attributes are made at run time: no type checker knows them.
ServerReadyRequest: Any = _inference["ServerReadyRequest"]
ServerReadyResponse: Any = _inference["ServerReadyResponse"]
ModelReadyRequest: Any = _inference["ModelReadyRequest"]
ModelReadyResponse: Any = _inference["ModelReadyResponse"]
ModelInferRequest: Any = _inference["ModelInferRequest"]
ModelInferResponse: Any = _inference["ModelInferResponse"]
ModelInterfaceRequest: Any = _mlserving["ModelInterfaceRequest"]
ModelInterfaceResponse: Any = _mlserving["ModelInterfaceResponse"]
HealthCheckResponse: Any = _health["HealthCheckResponse"]
