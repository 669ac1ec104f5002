"""How often a body is copied on its way through the process: the same figures on every run and every machine.

A request with a body of a megabyte goes through the whole process, on real sockets with TLS, warm. What Python objects
take in blocks of 4 KB and more (:mod:`tests.support.large_blocks`) is divided by the size of the body: each copy of it,
however many pieces it is in, adds 1. OpenSSL's and the kernel's copies are not counted. It needs a C compiler.

    python -m tests.integration.test_copies      prints the figures as they are now, to be put in place of FIGURES
"""

from __future__ import annotations

import gc
import json
import random
import sys
from typing import NamedTuple

from tests.support.large_blocks import LargeBlocks
from tests.support.socket_service import SocketServiceTestCase

SIZE = 1_000_000


class Copies(NamedTuple):
    """Memory in sizes of the body.

    Attributes:
        total: all that was allocated for one request.
        peak: the most that was in use at a time.
        left: what is still in use when all is quiet.
    """

    total: float
    peak: float
    left: float


FIGURES: dict[str, Copies] = {
    "image": Copies(total=9.06, peak=2.05, left=0.00),
    "JSON": Copies(total=9.06, peak=2.05, left=0.00),
}
#: By how many sizes of the body a figure may be exceeded: less than one more copy.
_TOLERANCE = 0.3
_WARM_UP = 3
#: Places that took this many times the body's size are told.
_SHOWN = 0.05


def numbers() -> bytes:
    """JSON of this size."""
    draw = random.Random(1)
    text = json.dumps([draw.uniform(-1, 1) for _ in range(SIZE // 23)])
    return text[:-1].ljust(SIZE - 1).encode() + b"]"


_REQUESTS = {
    "image": (random.Random(1).randbytes(SIZE), "image/jpeg"),
    "JSON": (numbers(), "application/json"),
}


class CopyTests(SocketServiceTestCase):
    """One request after the other, on connections that stay open."""

    def setUp(self) -> None:
        super().setUp()
        self.calls.blocks = LargeBlocks()

    def measure(self, name: str) -> Copies:
        """Measure one request."""
        body, media_type = _REQUESTS[name]
        assert self.calls.blocks is not None
        for _ in range(_WARM_UP):
            self.request(body, media_type)
        gc.collect()
        gc.disable()  # what it finalizes, and when, depends on everything that ran before
        self.calls.blocks.install()
        try:
            self.request(body, media_type)
            found = self.calls.blocks.total, self.calls.blocks.peak, self.calls.blocks.live
        finally:
            self.calls.blocks.uninstall()
            gc.enable()
        return Copies(*(each / len(body) for each in found))

    def where(self, name: str) -> str:
        """The functions that take most, with how many times the body's size."""
        body, media_type = _REQUESTS[name]
        assert self.calls.blocks is not None
        self.calls.blocks.install()
        try:
            found = self.calls.blocks.by_function(lambda: self.request(body, media_type))
        finally:
            self.calls.blocks.uninstall()
        places = [(size / len(body), place) for place, size in found.most_common()]
        return "".join(f"#   {times:.2f} {place}\n" for times, place in places if times >= _SHOWN)

    def check(self, name: str) -> None:
        """Compare a request with its figures."""
        self.assertEqual(len(_REQUESTS[name][0]), SIZE)
        found = self.measure(name)
        if any(each > figure + _TOLERANCE for each, figure in zip(found, FIGURES[name], strict=True)):
            self.fail(
                f"A body of a megabyte ({name}) takes {found} times its size; {FIGURES[name]} were written down.\nLook "
                "for bytes that are joined, sliced or kept; a memoryview is handed on without a copy. If it is worth "
                "its cost, measure it\n(make bench), and put the output of  python -m tests.integration.test_copies  "
                f"in place of FIGURES. Where:\n{self.where(name)}"
            )

    def test_image(self) -> None:
        """A body that is passed on as it is is copied no more often than it was, and no more of it is kept."""
        self.check("image")

    def test_json(self) -> None:
        """The same for JSON, which is checked."""
        self.check("JSON")


def main() -> None:
    """Print the figures, and where they come from."""
    where = ""
    sys.stdout.write("FIGURES: dict[str, Copies] = {\n")
    for name in _REQUESTS:
        case = CopyTests("test_image")
        case.setUp()
        total, peak, left = case.measure(name)
        where += f"# {name}:\n{case.where(name)}"
        case.doCleanups()
        sys.stdout.write(f'    "{name}": Copies(total={total:.2f}, peak={peak:.2f}, left={left:.2f}),\n')
    sys.stdout.write(f"}}\n{where}")


if __name__ == "__main__":
    main()
