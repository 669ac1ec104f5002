"""Request bodies: the usual one, JSON as models of numbers get it, and images. The same bytes in each run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from devtools.processes import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

#: 24 bytes, as in all questions that do not say otherwise.
BODY = b'{"data": [29, 29, 29] }\n'
#: Numbers in a row of embeddings.
_ROW = 32
_SEED = 20
#: How a JPEG file begins.
_JPEG = bytes.fromhex("ffd8ffe000104a464946")


def embeddings(size: int) -> bytes:
    """JSON: rows of numbers between -1 and 1, with as many digits as a ``float`` of 32 bits has; blanks at the end."""
    draw = random.Random(_SEED)
    begin, end = '{"embeddings": [', "]}"
    rows: list[str] = []
    length = len(begin + end)
    while True:
        rows.append(f"[{', '.join(f'{draw.uniform(-1, 1):.8f}' for _ in range(_ROW))}]")
        length += len(rows[-1]) + 2
        if length > size:
            break
    text = begin + ", ".join(rows[:-1])
    return (text + " " * (size - len(text + end)) + end).encode()


def image(size: int) -> bytes:
    """Bytes at random after the beginning of a JPEG file."""
    return _JPEG + random.Random(_SEED).randbytes(size - len(_JPEG))


def file_of(name: str, body: bytes) -> Path:
    """A file with this body."""
    path = FOLDER / "bench" / f"body-{name}"
    path.write_bytes(body)
    return path
