"""Streams of bytes that are nearly HTTP/1.1: requests by the grammar, with mistakes in any part."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

#: Bytes that have a meaning for some parsers of HTTP.
_ODD = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b":",
    b";",
    b",",
    b"\x85",
    b"\xff",
)
odd_bytes = st.sampled_from(_ODD)

_methods = st.sampled_from(
    (b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"get", b"M-SEARCH", b"G(T", b"", b"PRI")
)
_targets = st.sampled_from(
    (
        b"/",
        b"/",
        b"/slow",
        b"/slow",
        b"/a?b=c",
        b"*",
        b"http://a/",
        b"HTTPS://b:8443/slow?a",
        b"http://b",
        b"https://b?c",
        b"http:///",
        b"http://u@b/",
        b"ftp://b/",
        b"http:/b",
        b"?a",
        b"a:80",
        b"",
        b"/%ff",
        b"/%00",
        b"//",
        b"/\x7f",
        b"/\x80",
    )
)
_versions = st.sampled_from(
    (
        *[b"HTTP/1.1"] * 8,
        b"HTTP/1.0",
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"http/1.1",
        b"HTTP/01.1",
        b"HTTP/1.1 ",
        b"",
    )
)
_hosts = st.sampled_from((*[b"a"] * 6, b"a:80", b"[::1]:1", b"", b"a b", b"a/b", b"..", b"\xe4", b"a,b"))
_lengths = st.sampled_from(
    (
        b"0",
        b"1",
        b"3",
        b"5",
        b"20",
        b"21",
        b"+3",
        b"-1",
        b"3,3",
        b"3, 3",
        b"0x3",
        b"03",
        b"3 ",
        b"3 3",
        b"",
        b"1_0",
        b"\xb2",
        b"1" * 30,
        b"0" * 30 + b"3",
        b"\x0b3",
    )
)
_codings = st.sampled_from(
    (
        *[b"chunked"] * 8,
        b"Chunked",
        b"CHUNKED ",
        b"identity",
        b"gzip, chunked",
        b"chunked, identity",
        b"chunked,",
        b",chunked",
        b"chunked;q=1",
        b"\x0bchunked",
        b"chunked\x0b",
        b"xchunked",
        b"",
        b"'chunked'",
        b"chunked chunked",
    )
)
_connections = st.sampled_from(
    (b"close", b"Close", b"keep-alive", b"x, close", b"close,x", b"closed", b"upgrade", b"keep-alive, close", b"")
)
_expectations = st.sampled_from((b"100-continue", b"100-Continue", b"200-ok", b""))
_values = st.one_of(st.just(b"1"), st.binary(max_size=4), odd_bytes)
_names = st.one_of(
    st.sampled_from((b"X", b"X-A", b"Cookie", b"Content-Type", b"RqUID", b"X_Y", b"\xe4", b"", b"X Y", b"@")),
    st.binary(max_size=3),
)


def _named(*names: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(names)


#: Headers about the length of a body, most of them well-formed.
_framing = st.one_of(
    st.tuples(_named(b"Content-Length", b"content-length"), _lengths),
    st.tuples(_named(b"Transfer-Encoding", b"TRANSFER-ENCODING"), _codings),
)
_headers = st.one_of(
    _framing,
    st.tuples(
        _named(b"Content-Length ", b" Content-Length", b"Content_Length", b"Content-Length\0", b"\x0bContent-Length"),
        _lengths,
    ),
    st.tuples(
        _named(b"Transfer-Encoding ", b"Transfer-Encoding\t", b"\tTransfer-Encoding", b"Transfer_Encoding"), _codings
    ),
    st.tuples(_named(b"Host"), _hosts),
    st.tuples(_named(b"Connection", b"connection"), _connections),
    st.tuples(_named(b"Expect"), _expectations),
    st.tuples(_names, _values),
)
_colons = st.sampled_from((*[b": "] * 12, b":", b" : ", b":\t", b":\r\n ", b"", b"::"))
_ends = st.sampled_from(
    (*[b"\r\n"] * 24, b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"\r\n ", b"\0\r\n", b" \r\n", b"")
)

_sizes_written = st.sampled_from(
    (
        *[b"%x"] * 8,
        b"%X",
        b"0%x",
        b"0x%x",
        b"+%x",
        b"-%x",
        b" %x",
        b"%x ",
        b"%x\t",
        b"%x;a=b",
        b'%x;a="b"',
        b"%x;a\n",
        b"%x;\xff",
        b"%x;\0",
    )
)
_trailers = st.one_of(
    st.just(b""),
    st.just(b""),
    st.sampled_from((b"X: 1\r\n", b"X: 1\n\r\n", b" x\r\n", b"Host: b\r\n", b"no\r\n", b"X: \0\r\n", b"X: 1\n\nG")),
    st.builds(lambda name, value: name + b": " + value + b"\r\n", _names, _values),
)


_bodies = st.one_of(st.binary(max_size=21), st.lists(odd_bytes, max_size=6).map(b"".join), st.just(b"\n\n"))
#: Headers that leave a request well-formed.
_fine = st.sampled_from(
    (
        *[b""] * 6,
        b"Connection: close\r\n",
        b"Connection: x, close\r\n",
        b"Connection: close,x\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: x\r\nConnection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Expect: x\r\n",
        b"X: \x01\xff\r\n",
        b"Cookie: =;a\r\n",
    )
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A chunked body."""
    pieces = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=12), max_size=3)):
        size = len(data) + draw(st.sampled_from((*[0] * 12, 1, -1)))
        pieces += [draw(_sizes_written) % size, draw(_ends), data, draw(_ends)]
    last = draw(st.sampled_from((*[b"0"] * 8, b"00", b"0;a", b"-0", b"", b"0x0")))
    return b"".join([*pieces, last, draw(_ends), draw(_trailers), draw(_ends)])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is well-formed, or not quite."""
    form = draw(st.sampled_from(("right", "right", "chunked", "framed", "odd")))
    body = draw(_bodies)
    head = b"POST %s HTTP/1.1\r\nHost: a\r\n%s" % (draw(st.sampled_from((b"/", b"/slow", b"/a?b=c"))), draw(_fine))
    if form == "right":
        return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body[:20])
    if form == "chunked":
        return b"%sTransfer-Encoding: chunked\r\n\r\n%s" % (head, draw(chunked_bodies()))
    if form == "framed":
        framing = b"".join(b"%s: %s\r\n" % each for each in draw(st.lists(_framing, min_size=1, max_size=2)))
        return b"%s%s\r\n%s" % (head, framing, draw(st.one_of(st.just(body), chunked_bodies())))
    lines = [draw(_methods) + b" " + draw(_targets) + b" " + draw(_versions) + draw(_ends)]
    headers = [(b"Host", b"a")] if draw(st.integers(0, 9)) else []
    headers += draw(st.lists(_headers, max_size=4))
    lines += [name + draw(_colons) + value + draw(_ends) for name, value in headers]
    return b"".join([*lines, draw(_ends), draw(st.one_of(st.just(body), chunked_bodies()))])


@st.composite
def nearly_plain(draw: st.DrawFn) -> bytes:
    """A request with at most two headers that may be malformed."""
    name = st.sampled_from(
        (b"X", b"x", b"X-a", b"Cookie", b"Connection", b"Expect", b"RqUID", b"Host", b"X Y", b"X\xe4")
    )
    usual = st.sampled_from((b"1", b" 1\t", b"close", b"100-continue", b""))
    value = st.one_of(usual, st.binary(max_size=3), odd_bytes)
    lines = [
        draw(name) + draw(st.sampled_from((b":", b":", b": ", b":\t", b" :", b""))) + draw(value)
        for _ in range(draw(st.integers(0, 2)))
    ]
    body = draw(_bodies)
    lines += [b"Host: a", b"Content-Length: %d" % len(body)]
    return b"POST %s HTTP/1.1\r\n%s\r\n\r\n%s" % (draw(_targets), b"\r\n".join(draw(st.permutations(lines))), body)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Some requests one after another. A few bytes may be changed, or the last ones missing."""
    data = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=4))))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 3))
        data[at:end] = draw(
            st.one_of(st.just(b""), odd_bytes, st.binary(max_size=2), st.just(bytes(data[at : at + 8])))
        )
    if not draw(st.integers(0, 7)):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


class Segments(list[bytes]):
    """Bytes as they arrive."""

    def __repr__(self) -> str:
        return f"{b''.join(self)!r} in segments of {list(map(len, self))} bytes"


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in segments: a few, or each byte alone."""
    if not draw(st.integers(0, 4)):
        return Segments(data[at : at + 1] for at in range(len(data)))
    places = [0, *sorted(draw(st.sets(st.integers(0, len(data)), max_size=6))), len(data)]
    return Segments(data[one:other] for one, other in pairwise(places) if one < other)


@st.composite
def split_streams(draw: st.DrawFn) -> list[bytes]:
    """A stream in segments."""
    return draw(splits(draw(streams())))
