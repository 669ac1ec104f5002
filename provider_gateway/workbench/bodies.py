"""Bodies as the page shows them: as JSON, text, image or hexadecimal digits. Pure."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from itertools import accumulate

import msgspec

from provider_gateway.workbench.texts import visible

#: Bytes of a body that are shown; the whole body can be downloaded.
_SHOWN = 262_144
#: Bytes that are shown in hexadecimal digits, 16 a line.
_SHOWN_HEX = 8_192
#: Characters of indented JSON that are shown, and that are made at most: indenting deep JSON makes it much longer.
_SHOWN_JSON, _MADE_JSON = 2 * _SHOWN, 16 * _SHOWN
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = b"[{"
_LINE = 16
#: Images that browsers show and that hold no script, by their first bytes.
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_WEBP = "image/webp"
#: Media types of bodies that are images, and of all others.
IMAGE_TYPES = (*dict.fromkeys(name for _, name in _IMAGES), _WEBP)
OTHER_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBody:
    """A body in one form.

    Attributes:
        form: ``json``, ``text``, ``image`` or ``hex``.
        forms: all forms that the body has.
        text: the body in this form; empty for an image.
        shown: bytes of the body that are shown, if those are not all; else None.
        note: what was done with the body before it was shown; empty for nothing.
    """

    form: str
    forms: tuple[str, ...]
    text: str
    shown: int | None = None
    note: str = ""


def image_type(body: bytes) -> str | None:
    """The media type of an image, by the body itself; None if it is none that is shown."""
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return _WEBP
    return next((name for beginning, name in _IMAGES if body.startswith(beginning)), None)


def show(body: bytes, coding: str | None, wanted: str | None) -> ShownBody:
    """Show a body.

    Args:
        coding: its ``content_encoding``.
        wanted: the form; the best one if the body does not have it.
    """
    note = ""
    decoded = _decoded(body, coding)
    if decoded is not None:
        body, note = decoded, "The body is compressed (gzip). It is shown decompressed; the download is as it is."
    forms = []
    text = _text(body)
    json = _json(body) if text is not None else None
    if json is not None:
        forms.append("json")
    if image_type(body) is not None and decoded is None:
        forms.append("image")
    if text is not None:
        forms.append("text")
    forms.append("hex")
    form = wanted if wanted in forms else forms[0]
    shown = None
    if form == "json":
        assert json is not None, "one of the forms"
        if len(json) > _SHOWN_JSON:
            json, shown = json[:_SHOWN_JSON], _SHOWN
        content = visible(json, keeps_lines=True)
    elif form == "text":
        assert text is not None, "one of the forms"
        shown = _SHOWN if len(body) > _SHOWN else None
        content = visible(text[:_SHOWN], keeps_lines=True)
    elif form == "hex":
        shown = _SHOWN_HEX if len(body) > _SHOWN_HEX else None
        content = _hex(body[:_SHOWN_HEX])
    else:
        content = ""
    return ShownBody(form=form, forms=tuple(forms), text=content, shown=shown, note=note)


def _decoded(body: bytes, coding: str | None) -> bytes | None:
    """A body without its content coding, as much as is shown; None if it has none, or another one than gzip."""
    if coding is None or coding.strip().lower() not in ("gzip", "x-gzip"):
        return None
    try:
        return zlib.decompressobj(wbits=31).decompress(body, _SHOWN + 1)
    except zlib.error:
        return None


def _text(body: bytes) -> str | None:
    """A body as text; None if it is none: UTF-8 without control characters that no text has."""
    beginning = body[: _SHOWN + 1]
    try:
        text = beginning.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(body) <= _SHOWN or error.start < len(beginning) - 3:  # else a character is cut
            return None
        text = beginning[: error.start].decode("utf-8")
    return None if "\0" in text else text


def _json(body: bytes) -> str | None:
    """A JSON body, indented, and else as it is: no number is rounded, and no name that comes twice is lost."""
    if len(body) > _SHOWN_JSON:
        return None
    outside = _STRING.sub(b"", body)
    brackets = outside.translate(None, _NO_BRACKETS)
    depth = max(accumulate(1 if each in _OPENING else -1 for each in brackets), default=0)
    if 2 * depth * (outside.count(b",") + len(brackets)) > _MADE_JSON:
        return None
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _hex(body: bytes) -> str:
    lines = []
    for start in range(0, len(body), _LINE):
        piece = body[start : start + _LINE]
        digits = piece.hex(" ").ljust(3 * _LINE - 1)
        letters = "".join(chr(each) if 32 <= each < 127 else "." for each in piece)
        lines.append(f"{start:08x}  {digits}  {letters}")
    return "\n".join(lines)
