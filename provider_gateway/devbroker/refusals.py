"""Refusals: the reply codes of AMQP 0-9-1 with RabbitMQ's texts, and whether one closes a channel or the connection."""

from __future__ import annotations

from typing import Any

from pika import spec

#: Reply codes by number: pika's spec has them as constants.
_NAMES = {
    value: name
    for name, value in vars(spec).items()
    if name.isupper() and isinstance(value, int) and 311 <= value < 600
}
#: Those that close the channel only (AMQP 0-9-1, 1.2 "soft errors").
_SOFT = frozenset({311, 312, 313, 403, 404, 405, 406})
#: A short string has no more bytes.
_MAX_TEXT = 255


class Refused(Exception):
    """What a client asked for is refused; 540 is what RabbitMQ does and this broker does not.

    Args:
        code: the reply code.
        text: why, without the code's name.
        index: of the method that is refused (class and method id in one number, as in pika's spec); 0 if none is.
    """

    def __init__(self, code: int, text: str, index: int = 0) -> None:
        super().__init__(f"{_NAMES[code]} - {text}")
        self.code = code
        self.index = index

    @property
    def closes_connection(self) -> bool:
        """True if more than the channel is lost."""
        return self.code not in _SOFT

    def close(self, kind: Any) -> Any:
        """The method that tells the client: Connection.Close or Channel.Close."""
        text = str(self).encode("utf-8", "replace")[:_MAX_TEXT].decode("utf-8", "ignore")
        return kind(self.code, text, self.index >> 16, self.index & 0xFFFF)


def place(kind: str, name: str) -> str:
    """An exchange or a queue as RabbitMQ calls it in its texts."""
    return f"{kind} '{name}' in vhost '/'"


def inequivalent(argument: str, where: str, received: str, current: str) -> Refused:
    """The refusal of a declaration that differs from what exists."""
    return Refused(406, f"inequivalent arg '{argument}' for {where}: received {received} but current is {current}")


def check_equal(where: str, existing: object, declared: object, *names: str) -> None:
    """Compare properties of a declaration with those of what exists.

    Raises:
        Refused: one differs (406).
    """
    for name in names:
        received, current = getattr(declared, name), getattr(existing, name)
        if received != current:
            raise inequivalent(name, where, f"'{received}'".lower(), f"'{current}'".lower())
