"""AMQP's short strings, of which names and routing keys are made: what they may hold."""

from __future__ import annotations

import re

#: Names and routing keys are AMQP short strings (AMQP 0-9-1, 4.2.5.3): at most 255 bytes of UTF-8.
SHORT_STRING_BYTES = 255
#: RabbitMQ removes line ends from names without a word, so the name that exists would be another one.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def text_problem(text: str, *, controls: bool = False) -> str | None:
    """What keeps a text from being sent; None if nothing does.

    Args:
        controls: control characters are allowed.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a half of a surrogate pair is no character"
    if not controls and (found := _CONTROLS.search(text)):
        return f"control characters are not allowed, found {found[0]!r}"
    return None


def check_short_string(text: str) -> str:
    """Check a name or a routing key.

    Raises:
        ValueError: it has more than 255 bytes, a control character, or half a surrogate pair.
    """
    if problem := text_problem(text):
        raise ValueError(problem)
    if len(text.encode()) > SHORT_STRING_BYTES:
        msg = f"at most {SHORT_STRING_BYTES} bytes are allowed"
        raise ValueError(msg)
    return text
