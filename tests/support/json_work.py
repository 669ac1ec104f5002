"""Counts the bytes that the check of a JSON body reads: its work, without a clock."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from provider_gateway.errors import InvalidJSON
from provider_gateway.gateway import json_body, json_structure
from provider_gateway.gateway.json_structure import Nesting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Work:
    """What a check did.

    Attributes:
        turns: bytes read in each turn: by msgspec, and by each pattern of RE2.
        refusal: the error; None if the body was accepted.
    """

    turns: list[int] = field(default_factory=list)
    refusal: InvalidJSON | None = None

    def read(self, size: int) -> None:
        """Count bytes for the turn that goes on."""
        self.turns[-1] += size


class _Counted:
    """A pattern of RE2 or a decoder of msgspec whose work is counted."""

    def __init__(self, inner: Any, work: Work) -> None:
        self._inner = inner
        self._work = work

    def decode(self, text: bytes) -> object:
        self._work.read(len(text))
        return self._inner.decode(text)

    def fullmatch(self, text: bytes) -> object:
        self._work.read(len(text))
        return self._inner.fullmatch(text)

    def match(self, text: bytes, start: int = 0, end: int | None = None) -> object:
        self._work.read((len(text) if end is None else end) - start)
        return self._inner.match(text, start, end)

    def search(self, text: bytes) -> Any:
        found = self._inner.search(text)  # backwards, from the end to where the match begins
        self._work.read(len(text) - (found.start() if found else 0))
        return found


@contextmanager
def _counting(work: Work, max_depth: int) -> Iterator[None]:
    counted = Nesting(max_depth)
    for name in ("_balanced", "_surplus", "_unclosed"):
        setattr(counted, name, _Counted(getattr(counted, name), work))
    comma, decoder = (_Counted(each, work) for each in (json_structure._UP_TO_COMMA, json_body._json))
    with (
        patch.object(json_body, "nesting", lambda _: counted),
        patch.object(json_structure, "_UP_TO_COMMA", comma),
        patch.object(json_body, "_json", decoder),
    ):
        yield


def _checked(max_depth: int, check: Callable[[Work], None]) -> Work:
    work = Work([0])
    with _counting(work, max_depth):
        try:
            check(work)
        except InvalidJSON as refusal:
            work.refusal = refusal
    return work


def whole(body: bytes, max_depth: int) -> Work:
    """Check a body in one go."""
    return _checked(max_depth, lambda _: json_body.check_json(body, max_depth))


def in_turns(body: bytes, max_depth: int) -> Work:
    """Check a body piece by piece."""

    def check(work: Work) -> None:
        for _ in json_body.check_json_in_turns(body, max_depth):
            work.turns.append(0)

    return _checked(max_depth, check)
