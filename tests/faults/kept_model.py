"""A model whose answer follows from the request: so a ledger knows what every kept answer has to be.

The kind of a request is its id up to the hyphen. No two requests have the same answer.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.faults.ledger import id_in

JSON = "application/json"
#: Bytes of the largest answers.
LARGE = 20_000


@dataclass(frozen=True)
class Answer:
    """What the model answers.

    Attributes:
        seconds: that it takes.
        failures: calls for the request that it fails before; -1 for all of them.
    """

    status: int
    body: bytes
    content_type: str = JSON
    seconds: float = 0.0
    failures: int = 0


def request_of(request: str) -> bytes:
    """The body of a request."""
    return json.dumps({"id": request}).encode()


def answer_to(body: bytes, slow: float = 4.0) -> Answer:
    """The model's answer to a request with this body.

    Args:
        slow: seconds that a call of the kind "slow" takes.
    """
    request = id_in(body) or ""
    kind, digest = request.partition("-")[0], sha256(body)
    plain = json.dumps({"id": request, "digest": digest.hexdigest()}).encode()
    answers = {
        "bytes": Answer(200, _noise(digest.digest()), "application/octet-stream"),
        "empty": Answer(200, b"", "text/plain"),
        "rejected": Answer(422, plain),
        "parked": Answer(500, plain, failures=-1),
        "flaky": Answer(200, plain, failures=1),
        "slow": Answer(200, plain, seconds=slow),
    }
    return answers.get(kind, Answer(200, plain))


def _noise(seed: bytes) -> bytes:
    """Bytes of any value, of a length that follows from the seed; the first ones are ends of lines and zeros."""
    size = int.from_bytes(seed[:2], "big") * LARGE // 65_536
    return (b"\r\n\r\n\0" + seed * (size // len(seed) + 1))[: max(size, len(seed))]


class KeptModel:
    """Answers calls of :class:`tests.support.model_server.ModelServer`: assign it to ``answer``.

    Attributes:
        calls: number of calls of each request.
        seconds: that each call takes beside its own.
    """

    def __init__(self, seconds: float = 0.0, slow: float = 4.0) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds = seconds
        self._slow = slow

    def __call__(self, body: bytes) -> Any:
        answer = answer_to(body, self._slow)
        request = id_in(body) or ""
        self.calls[request] += 1
        fails = answer.failures < 0 or self.calls[request] <= answer.failures
        found = (500, b"{}") if fails else (answer.status, answer.body, {"Content-Type": answer.content_type})
        if seconds := answer.seconds + self.seconds:
            return deferLater(reactor, seconds, lambda: found)
        return found
