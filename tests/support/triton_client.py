"""Calls that a user of ``tritonclient[http]`` makes: ``python -m tests.support.triton_client MODEL URL CA CERT KEY``.

Prints what each call returned, as JSON. A process of its own, since the client brings gevent and aiohttp.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient import http as triton  # type: ignore[import-untyped] # has no types
from tritonclient.http import aio  # type: ignore[import-untyped] # has no types
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # type: ignore[import-untyped] # likewise

if TYPE_CHECKING:
    from collections.abc import Callable

#: Tensors of each kind that travels in its own way: numbers, text, an empty one, and one of 3 MB.
TENSORS = (
    np.arange(6, dtype=np.int32).reshape(2, 3),
    np.array([[0.5, -1.25]], dtype=np.float32),
    np.array([["a", "ä€", ""]], dtype=object),
    np.zeros((0, 4), dtype=np.float32),
    np.random.default_rng(17).integers(0, 255, (3, 1000, 1000), dtype=np.uint8),
)


def _inputs(tensors: Any, *, binary: bool) -> list[Any]:
    made = []
    for number, tensor in enumerate(tensors):
        made.append(triton.InferInput(f"in{number}", list(tensor.shape), np_to_triton_dtype(tensor.dtype)))
        made[-1].set_data_from_numpy(tensor, binary_data=binary)
    return made


def _outputs(tensors: Any, *, binary: bool) -> list[Any]:
    return [triton.InferRequestedOutput(f"in{number}", binary_data=binary) for number, _ in enumerate(tensors)]


def _same(result: Any, tensors: Any) -> bool:
    """True if each tensor came back as it was sent. Texts come back as bytes."""
    for number, sent in enumerate(tensors):
        found = result.as_numpy(f"in{number}")
        wanted = sent if sent.dtype != object else np.char.encode(sent.astype(str), "utf-8").astype(object)
        if found.dtype == object:
            found = np.array([each if isinstance(each, bytes) else each.encode() for each in found.flat], dtype=object)
            wanted = wanted.reshape(-1)
        if not np.array_equal(found, wanted):
            return False
    return True


def _came_back(call: Callable[[], Any], tensors: Any) -> list[Any]:
    """Whether the tensors came back, and the id of the answer; or what went wrong."""
    try:
        result = call()
    except InferenceServerException as error:
        return [False, str(error)]
    return [_same(result, tensors), result.get_response().get("id")]


def _error(call: Callable[[], Any]) -> list[str | None]:
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return [None, None]


def calls(client: Any, model: str) -> dict[str, Any]:
    """What each call returned."""
    found: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(model), client.is_model_ready(model, "1"), client.is_model_ready("none")],
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(model, "1"),
        "unknown_model": _error(lambda: client.get_model_metadata("none")),
    }
    one = TENSORS[:1]
    if not found["model_ready"][0]:
        return found
    for name, tensors, binary, more in (
        ("binary", TENSORS, True, {}),
        ("json", TENSORS[:3], False, {}),
        ("version", one, True, {"model_version": "1"}),
        ("query", one, True, {"query_params": {"a": "b"}, "request_id": "r-1"}),
        ("gzip", TENSORS, True, {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}),
        ("gzip_json", one, False, {"request_compression_algorithm": "gzip"}),
    ):
        sent = {"inputs": _inputs(tensors, binary=binary), "outputs": _outputs(tensors, binary=binary), **more}
        found[name] = _came_back(lambda sent=sent: client.infer(model, **sent), tensors)
    found["default_outputs"] = _came_back(lambda: client.infer(model, _inputs(one, binary=True)), one)
    found["later"] = _came_back(lambda: client.async_infer(model, _inputs(one, binary=True)).get_result(), one)
    for name, called, more in (
        ("refused", model, {"parameters": {"fail": 400}}),
        ("failed", model, {"parameters": {"fail": 500}}),
        ("infer_unknown", "none", {}),
        ("infer_version", model, {"model_version": "7"}),
        ("deflate", model, {"request_compression_algorithm": "deflate"}),
    ):
        found[name] = _error(lambda called=called, more=more: client.infer(called, _inputs(one, binary=True), **more))
    return found


async def calls_of_asyncio(url: str, model: str, context: ssl.SSLContext) -> list[Any]:
    """Whether tensors came back as they were sent, by the client for asyncio: binary, JSON."""
    found: list[Any] = []
    async with aio.InferenceServerClient(url, ssl=True, ssl_context=context) as client:
        for binary in (True, False):
            tensors = TENSORS[:3]
            inputs, outputs = _inputs(tensors, binary=binary), _outputs(tensors, binary=binary)
            try:
                found.append(_same(await client.infer(model, inputs, outputs=outputs), tensors))
            except InferenceServerException as error:
                found.append(str(error))
    return found


def main(model: str, url: str, ca: str, certificate: str, key: str) -> None:
    """Make all calls, and print what they returned."""
    files = {"ca_certs": ca, "certfile": certificate, "keyfile": key}
    with triton.InferenceServerClient(url, ssl=True, ssl_options=files) as client:
        found = calls(client, model)
    if found["model_ready"][0]:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        found["asyncio"] = asyncio.run(calls_of_asyncio(url, model, context))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
