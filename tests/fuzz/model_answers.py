"""Bytes that a model may send: responses by the grammar of HTTP/1.1 with errors in any part, and a reference reader."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import strategies as st

from tests.fuzz.http_streams import chunked_bodies, odd_bytes

_statuses = st.sampled_from((*[200] * 6, 201, 204, 304, 400, 404, 408, 500, 302, 100, 101, 103, 199, 99, 0, 205, 999))
_versions = st.sampled_from((*[b"HTTP/1.1"] * 8, b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"ICY/1.0", b""))
_lengths = st.sampled_from((b"0", b"1", b"3", b"5", b"21", b"+3", b"-1", b"3,3", b"3, 3", b"03", b"3 ", b"", b"1" * 30))
_codings = st.sampled_from(
    (
        *[b"chunked"] * 6,
        b"Chunked",
        b"chunked ",
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
        b"identity",
        b"xchunked",
        b"",
    )
)
_connections = st.sampled_from((b"close", b"Close", b"x, close", b"keep-alive", b"upgrade", b"closed", b""))
_odd_headers = st.one_of(
    st.tuples(st.sampled_from((b"Content-Length", b"content-length", b"Content-Length ")), _lengths),
    st.tuples(st.sampled_from((b"Transfer-Encoding", b"TRANSFER-ENCODING", b" Transfer-Encoding")), _codings),
    st.tuples(st.just(b"Connection"), _connections),
    st.tuples(st.just(b"Content-Encoding"), st.sampled_from((b"identity", b"gzip", b"", b"\xff", b"Identity"))),
    st.tuples(st.just(b"Content-Type"), st.one_of(st.binary(max_size=4), st.just(b"text/csv"))),
    st.tuples(st.sampled_from((b"X-A", b"x-a", b"Set-Cookie", b"", b"X Y", b"\xe4")), st.binary(max_size=4)),
    st.tuples(st.binary(max_size=3), odd_bytes),
)
_fine_headers = st.sampled_from(
    (*[b""] * 6, b"Connection: close\r\n", b"Connection: x, Close\r\n", b"X-A: 1\r\n", b"Keep-Alive: timeout=5\r\n")
)
_line_ends = st.sampled_from((*[b"\r\n"] * 24, b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\0\r\n", b""))
_bodies = st.one_of(st.binary(max_size=24), st.lists(odd_bytes, max_size=4).map(b"".join))
_interim = st.sampled_from(
    (*[b""] * 6, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A response that is valid, or has errors."""
    form = draw(st.sampled_from(("length", "length", "chunked", "until the end", "odd", "odd")))
    body = draw(_bodies)
    if form != "odd":
        head = b"%sHTTP/1.1 %03d OK\r\n%s" % (draw(_interim), draw(_statuses), draw(_fine_headers))
        if form == "length":
            return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
        if form == "chunked":
            return b"%sTransfer-Encoding: chunked\r\n\r\n%s" % (head, draw(chunked_bodies()))
        return b"%s\r\n%s" % (head, body)
    lines = [
        b"%s %03d%s%s"
        % (draw(_versions), draw(_statuses), draw(st.sampled_from((b" OK", b"", b" "))), draw(_line_ends))
    ]
    lines += [name + b": " + value + draw(_line_ends) for name, value in draw(st.lists(_odd_headers, max_size=4))]
    return b"".join([*lines, draw(_line_ends), draw(st.one_of(st.just(body), chunked_bodies()))])


@st.composite
def answer_streams(draw: st.DrawFn) -> bytes:
    """What a model sends for one request: a response, maybe followed by other bytes, changed, or cut off."""
    data = bytearray(draw(answers()))
    data += draw(st.one_of(st.just(b""), st.just(b""), st.just(b""), answers(), odd_bytes, st.binary(max_size=4)))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.one_of(st.just(b""), odd_bytes, st.binary(max_size=2)))
    if not draw(st.integers(0, 5)):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


class Framed(NamedTuple):
    """A complete response, and the bytes after it."""

    status: int
    body: bytes
    is_persistent: bool
    rest: bytes


_HEAD = re.compile(
    rb"[\r\n]*(?:HTTP|RTSP|ICE)/(\d\.\d) (\d{3})(?: [^\r\n]*)?\r?\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n)*)\r?\n"
)
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[^\r\n]*)?\r\n")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*\r\n")


def framed(data: bytes) -> Framed | None:
    """Read the first final response whose end does not depend on the end of the connection.

    The grammar of values and of chunk extensions is not checked.

    Returns:
        None if there is no such response.
    """
    while head := _HEAD.match(data):
        data, status = data[head.end() :], int(head[2])
        if not 100 <= status < 200:
            break
        if status == 101:
            return None
    else:
        return None
    headers = [
        (name.lower(), value.strip(b" \t"))
        for name, _, value in (line.partition(b":") for line in head[3].splitlines())
    ]
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    tokens = {
        token.strip(b" \t").lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    }
    is_persistent = b"close" not in tokens and (head[1] == b"1.1" or b"keep-alive" in tokens)
    if status in (204, 304):
        return Framed(status, b"", is_persistent, data)
    if codings:
        read = _dechunked(data) if set(codings) == {b"chunked"} and not lengths else None
        return Framed(status, read[0], is_persistent, read[1]) if read else None
    if len(lengths) == 1 and lengths[0].isdigit() and len(data) >= int(lengths[0]):
        return Framed(status, data[: int(lengths[0])], is_persistent, data[int(lengths[0]) :])
    return None


def _dechunked(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while chunk := _CHUNK.match(data):
        size, data = int(chunk[1], 16), data[chunk.end() :]
        if not size:
            trailers = _TRAILERS.match(data)
            return (body, data[trailers.end() :]) if trailers else None
        if data[size : size + 2] != b"\r\n":
            return None
        body, data = body + data[:size], data[size + 2 :]
    return None
