"""Checks of a request's body: valid JSON, not nested too deeply."""

from __future__ import annotations

import re
from codecs import utf_8_decode
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.task import Cooperator

from provider_gateway.errors import InvalidJSON
from provider_gateway.gateway.json_structure import PIECE, TooDeep, nesting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IReactorTime

#: A body of more bytes is checked in turns. A smaller one takes 6 ms at worst.
LARGE = 1_048_576

#: Checks the syntax without building objects.
_json = msgspec.json.Decoder(msgspec.Raw)
_AT_BYTE = re.compile(r"byte (\d+)")


def check_json(body: bytes, max_depth: int) -> None:
    """Check that a body is one JSON value in UTF-8 (RFC 8259).

    Args:
        max_depth: allowed depth of nested arrays and objects.

    Raises:
        InvalidJSON: the body is not JSON, or is nested too deeply.
    """
    try:
        if not body.isascii():  # msgspec checks the encoding only of text that it builds
            _check_encoding(body)
        _json.decode(body)
    except UnicodeDecodeError as error:
        msg = f"The body is not valid UTF-8 at byte {error.start}."
        raise InvalidJSON(msg) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except msgspec.DecodeError as error:
        raise InvalidJSON(f"{error}.") from None
    if len(body) > max_depth and nesting(max_depth).is_too_deep(body):
        raise _too_deep(max_depth)


def check_json_in_turns(body: bytes, max_depth: int) -> Iterator[None]:
    """Check a large body as :func:`check_json` does, piece by piece.

    Yields:
        None, behind each piece: others may have a turn.

    Raises:
        InvalidJSON: see :func:`check_json`.
    """
    try:
        for piece in nesting(max_depth).pieces(body):
            if piece is not None:
                offset = piece.offset
                check_json(piece.text, max_depth)
            del piece  # it is a copy, and may be as large as the body
            yield
    except TooDeep:
        raise _too_deep(max_depth) from None
    except InvalidJSON as error:
        detail = _AT_BYTE.sub(lambda found: f"byte {int(found[1]) + offset}", error.detail)
        raise InvalidJSON(detail) from None


class InTurns:
    """Checks large bodies in turns with everything else: one piece of one body in each turn of the reactor.

    Args:
        max_depth: allowed depth of nested arrays and objects.
    """

    def __init__(self, clock: IReactorTime, max_depth: int) -> None:
        self._max_depth = max_depth
        self._turns = Cooperator(
            terminationPredicateFactory=lambda: lambda: True, scheduler=lambda step: clock.callLater(0, step)
        )

    async def check(self, body: bytes) -> None:
        """Check a body as :func:`check_json` does.

        Raises:
            InvalidJSON: see :func:`check_json`.
        """
        checking = self._turns.cooperate(check_json_in_turns(body, self._max_depth))
        try:
            await checking.whenDone()
        except CancelledError:
            checking.stop()
            raise


def _check_encoding(body: bytes) -> None:
    """Decode a large body in parts: as text, it would take up to four times its memory.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    parts, start = memoryview(body), 0
    while start < len(body):
        part = parts[start : start + PIECE]
        try:
            _, size = utf_8_decode(part, "strict", start + PIECE >= len(body))
        except UnicodeDecodeError as error:
            error.start += start
            raise
        start += size


def _too_deep(max_depth: int) -> InvalidJSON:
    return InvalidJSON(f"The body is nested more than {max_depth} levels deep (MAX_JSON_DEPTH).")
