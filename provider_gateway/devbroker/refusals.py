"""Refusals: reply codes of AMQP 0-9-1 with RabbitMQ's texts; each closes a channel or the connection."""

from __future__ import annotations

from typing import Any

from pika import spec

#: Names of reply codes by number, from the constants of pika's spec.
_NAMES = {
    value: name
    for name, value in vars(spec).items()
    if name.isupper() and isinstance(value, int) and 311 <= value < 600
}
#: The codes that close the channel only (AMQP 0-9-1, 1.2 "soft errors").
_SOFT = frozenset({311, 312, 313, 403, 404, 405, 406})
#: The most bytes of a short string.
_MAX_TEXT = 255


class Refused(Exception):
    """A client's method or frame is refused. The code 540 means that RabbitMQ implements it and this broker does not.

    Args:
        code: the reply code.
        text: the reason, without the name of the code.
        index: of the refused method (class and method id in one number, as in pika's spec); 0 for none.
    """

    def __init__(self, code: int, text: str, index: int = 0) -> None:
        super().__init__(f"{_NAMES[code]} - {text}")
        self.code = code
        self.index = index

    @property
    def closes_connection(self) -> bool:
        """True if the connection is closed, not only the channel."""
        return self.code not in _SOFT

    def close(self, kind: Any) -> Any:
        """The method to send, of the class Connection.Close or Channel.Close."""
        text = str(self).encode("utf-8", "replace")[:_MAX_TEXT].decode("utf-8", "ignore")
        return kind(self.code, text, self.index >> 16, self.index & 0xFFFF)


def place(kind: str, name: str) -> str:
    """An exchange or a queue as RabbitMQ's texts name it."""
    return f"{kind} '{name}' in vhost '/'"


def inequivalent(argument: str, where: str, received: str, current: str) -> Refused:
    """The refusal of a declaration that differs from the existing object."""
    return Refused(406, f"inequivalent arg '{argument}' for {where}: received {received} but current is {current}")


def check_equal(where: str, existing: object, declared: object, *names: str) -> None:
    """Compare properties of a declaration with those of the existing object.

    Raises:
        Refused: one differs (406).
    """
    for name in names:
        received, current = getattr(declared, name), getattr(existing, name)
        if received != current:
            raise inequivalent(name, where, f"'{received}'".lower(), f"'{current}'".lower())
