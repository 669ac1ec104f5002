"""What a call of a model takes by each protocol, in CPU time of the process that calls (all of its threads).

    python -m benchmarks.model_calls [CALLS]

Prints for each protocol, and for one call and ten calls at a time: CPU time of a call, how much more that is than by
HTTP, and the time from its beginning to its end. The least of five runs counts. The models answer at once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import react

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.grpc_model.over_grpc import over_grpc
from provider_gateway.message.message import Message
from provider_gateway.model.interface import ModelTarget
from provider_gateway.model.model_errors import ModelErrors
from provider_gateway.model.over_http import over_http

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from provider_gateway.model.interface import CallsModel

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
_RUNS = 5
_BODY = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]}]}'
_HEADERS = {"X-Tenant": "a", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def served_by(module: str) -> tuple[subprocess.Popen[str], str]:
    """Start a model; returns its process and its URL."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def model(reactor: Any, protocol: Any, url: str) -> CallsModel:
    """The model at a URL."""
    target = ModelTarget(
        queues=("bench",),
        url=MaskedURL(url),
        protocol=protocol,
        name="bench",
        ready_url=None,
        tls=None,
        headers={},
        connections=10,
        max_body_bytes=10_000_000,
        wall_clock=time.time,
        on_unsafe_header=lambda: None,
        errors=ModelErrors(),
    )
    return (over_http if protocol == "http" else over_grpc)(reactor, target).model


async def calls(called: CallsModel, count: int) -> None:
    """Make calls one after the other."""
    for _ in range(count):
        await called.call(Message(_BODY, headers=_HEADERS), "0af76519-16cd-43dd-8448-eb211c80319c", 60)


async def measured(called: CallsModel, at_a_time: int) -> tuple[float, float]:
    """CPU time and duration of a call, in milliseconds."""
    results = []
    for _ in range(_RUNS):
        cpu, began = time.process_time(), time.perf_counter()
        each = CALLS // at_a_time
        await gatherResults([Deferred.fromCoroutine(calls(called, each)) for _ in range(at_a_time)])
        results.append((1000 * (time.process_time() - cpu) / CALLS, 1000 * (time.perf_counter() - began) / each))
    return min(results)


async def _run(reactor: Any) -> None:
    processes = [served_by("benchmarks.instant_model"), served_by("benchmarks.instant_grpc_model")]
    (_, http), (_, grpc) = processes
    try:
        print(f"{'protocol':22}{'at a time':>10}{'CPU ms':>8}{'more ms':>9}{'takes ms':>10}")
        for at_a_time in (1, 10):
            by_http = 0.0
            for protocol, url in (("http", http), ("mlserving-grpc", grpc), ("open-inference-grpc", grpc)):
                called = model(reactor, protocol, url)
                await calls(called, 200)
                cpu, takes = await measured(called, at_a_time)
                by_http = by_http or cpu
                print(f"{protocol:22}{at_a_time:10}{cpu:8.3f}{cpu - by_http:9.3f}{takes:10.2f}")
    finally:
        for process, _ in processes:
            process.terminate()
            process.wait()


def main(reactor: Any) -> Deferred[None]:
    """Measure, and print the table."""
    coroutine: Coroutine[Any, Any, None] = _run(reactor)
    return ensureDeferred(coroutine)


if __name__ == "__main__":
    react(main)
