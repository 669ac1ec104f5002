"""What the check of a JSON body takes, for the worst texts that are known.

    python -m benchmarks.json_bodies [MEGABYTES]

Prints for each text: CPU time per megabyte of the depth's check, and of the whole check in one go (bodies up to 1 MiB);
CPU time per megabyte in turns (larger bodies), and that of the longest turn. The least of three runs counts.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING

from provider_gateway.gateway.json_body import check_json, check_json_in_turns
from provider_gateway.gateway.json_structure import nesting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPTH = 128
_RUNS = 3
_NAMES = ("text", "depth ms/MB", "check ms/MB", "in turns ms/MB", "longest turn ms")


def texts(size: int) -> dict[str, bytes]:
    """Valid texts of about a number of bytes."""

    def array(element: bytes) -> bytes:
        return b"[" + b",".join([element] * (size // (len(element) + 1))) + b"]"

    def text(piece: bytes) -> bytes:
        return b'"' + piece * (size // len(piece)) + b'"'

    return {
        "small objects": array(b'{"a":1}'),
        "empty objects": array(b"{}"),
        "small integers": array(b"1"),
        "empty texts": array(b'""'),
        "brackets in texts": array(b'"[{]}"'),
        "commas in texts": array(b'"a,b,"'),
        "nested arrays": array(b"[" * (DEPTH - 1) + b"]" * (DEPTH - 1)),
        "nested objects": array(b'{"":' * (DEPTH - 1) + b"1" + b"}" * (DEPTH - 1)),
        "all within 127 arrays": b"[" * (DEPTH - 2) + array(b"[]") + b"]" * (DEPTH - 2),
        "nested at random": nested_at_random(size),
        "one text": text(b"a"),
        "one text of escapes": text(rb"\""),
        "one text of brackets": text(b"[]{}"),
        "one text of commas": text(b","),
        "one text of all kinds of UTF-8": text("aé€😀".encode()),
        "one integer": b"1" * size,
        "white space": b" " * size + b"1",
    }


def nested_at_random(size: int) -> bytes:
    """Arrays, objects and texts in an order that a processor cannot predict."""
    choice = random.Random(1).choice
    texts = (b'""', b'"a"', rb'"\""', rb'"\\"', rb'"[{\"]}"')
    parts: list[bytes] = [b"["]
    closing, length = [b"]"], 1
    while length < size:
        if len(closing) < DEPTH - 1 and choice((True, False)):
            parts.append(choice((b"[", b'{"a":')))
            closing.append(b"]" if parts[-1] == b"[" else b"}")
        else:
            end = closing.pop() if len(closing) > 1 and choice((True, False)) else b""
            name = choice(texts) + b":" if closing[-1] == b"}" else b""
            parts.append(choice((*texts, b"1", b"[]", b"{}")) + end + b"," + name)
        length += len(parts[-1])
    return b"".join((*parts, b"1", *reversed(closing)))


def _taken(steps: Callable[[], Iterator[object]]) -> tuple[float, float]:
    """CPU time in ms of all steps and of the longest one."""
    took = []
    started = time.process_time()
    for _ in steps():
        now = time.process_time()
        took.append(now - started)
        started = now
    took.append(time.process_time() - started)
    return 1000 * sum(took), 1000 * max(took)


def _best(steps: Callable[[], Iterator[object]]) -> tuple[float, float]:
    runs = [_taken(steps) for _ in range(_RUNS)]
    return min(total for total, _ in runs), min(longest for _, longest in runs)


def main() -> None:
    """Measure each text and print a line for it."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(" | ".join(_NAMES))
    for name, body in texts(int(megabytes * 2**20)).items():
        size = len(body) / 2**20
        depth, _ = _best(lambda body=body: iter([nesting(DEPTH).is_too_deep(body)]))
        whole, _ = _best(lambda body=body: iter([check_json(body, DEPTH)]))
        turns, longest = _best(lambda body=body: check_json_in_turns(body, DEPTH))
        print(f"{name} | {depth / size:.2f} | {whole / size:.2f} | {turns / size:.2f} | {longest:.1f}", flush=True)


if __name__ == "__main__":
    main()
