"""Requests to the API in which most parts are valid, and replies with any content."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from provider_gateway.message.message import Message

_latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)
_path_parts = st.sampled_from(
    ["%00", "%0d%0a", "%2e%2e", "..", "%c3%a4", "%ff", "v1", "predict", "%2f", ";", ":", "@", "%", "%%", "[", "\\"]
)
_paths = st.one_of(
    st.sampled_from(
        ["/v1/publish", "/health", "/", "//v1/predict", "/v1/predict/", "/v1//predict", "*", "/v1/predict?x=%ff&;="]
        + ["/v1/models", "/v1/models/", "/openapi.json", "/docs"]
        + [
            f"/v2{each}"
            for each in (
                "",
                "/",
                "/health/live",
                "/models/m",
                "/models/%6d",
                "/models/x/infer",
                "/models/m/versions/2/ready",
            )
        ]
        + [f"/v1/requests{each}" for each in ("", "/", "/x", f"/{'0' * 32}", f"/{'0' * 32}/result", "?limit=%ff&after")]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8).map("/".__add__),
    st.lists(_path_parts, max_size=4).map(lambda parts: "/" + "/".join(parts)),
)
_hosts = st.one_of(
    st.sampled_from(
        (
            "",
            "x" * 64,
            *[
                "a.b:443",
                "[::1]",
                "[::1]:80",
                "-",
                "a:",
                "[::1]:",
                "a::",
                "a..b",
                ".",
                "_",
                "xn--",
                "xn--a",
                "1",
                "[:",
                "a:b",
                "a:99999",
                "%",
            ],
        )
    ),
    st.text(st.sampled_from("aA0-._[]:"), max_size=8),
    _latin,
)
_keys = st.one_of(st.sampled_from(("", "a.*", "#", "x" * 256, "\xc3\xa4")), _latin)
_parameters = st.lists(
    st.sampled_from(
        (
            *(
                "charset=utf8",
                'charset="UTF-8"',
                "Charset = us-ascii",
                "charset=",
                "charset=latin1",
                'charset="utf-16"',
            ),
            *('a=";charset=latin1"', 'a="\\";', 'a="', "x", "", " "),
        )
    ),
    max_size=3,
)
_types = st.one_of(
    st.sampled_from(("application/json; charset=utf-8", 'APPLICATION/JSON ;charset="UTF-8";x', "text/plain", ";", "")),
    _parameters.map(lambda each: ";".join(["application/json", *each])),
    _latin,
)
_others = st.one_of(
    st.tuples(st.sampled_from(("RqUID", "rquid")), st.one_of(st.sampled_from(("r-1", "", "a b", "x" * 129)), _latin)),
    st.tuples(
        st.sampled_from(["Origin", "Cookie", "Accept", "Authorization", "X-A", "pg-status", "x-death", "CC", "Expect"]),
        _latin,
    ),
    st.tuples(
        st.sampled_from(["Connection", "Range", "If-None-Match", "Upgrade"]), st.one_of(_latin, st.just("close"))
    ),
    st.tuples(st.sampled_from(("Content-Encoding", "routing-key")), st.sampled_from(("gzip", "identity", "predict.x"))),
    st.tuples(st.just("Content-Encoding"), st.sampled_from(("", ",", "identity, identity", "br", "\xff"))),
)
_others = st.one_of(
    _others,
    st.tuples(
        st.sampled_from(("Prefer", "Idempotency-Key", "Webhook")),
        st.one_of(_latin, st.sampled_from(("respond-async", "wait=1", "wait=0", '"k"', "k", '"', "a;b", "wait=\xb2"))),
    ),
)
_bodies = st.one_of(
    st.sampled_from((b"[1, 2]", b"null", b"", b"{", b"NaN", b'"\xff"', b"[" * 200, b"1" * 499)), st.binary(max_size=9)
)


def _mostly(right: object, odd: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.integers(0, 7).flatmap(lambda number: odd if number == 7 else st.just(right))


class Call(NamedTuple):
    """A request to the API; header values are Latin-1 text."""

    method: str
    path: str
    host: str
    routing_key: str
    content_type: str
    others: list[tuple[str, str]]
    body: bytes

    @property
    def data(self) -> bytes:
        """The bytes of the request."""
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {self.host}",
            f"Content-Length: {len(self.body)}",
            f"Content-Type: {self.content_type}",
            f"routing-key: {self.routing_key}",
            *[f"{name}: {value}" for name, value in self.others],
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


calls = st.builds(
    Call,
    _mostly("POST", st.sampled_from(["GET", "HEAD", "OPTIONS", "DELETE", "Post", "CONNECT", "TRACE"])),
    _mostly("/v1/predict", _paths),
    _mostly("a", _hosts),
    _mostly("predict.now", _keys),
    _mostly("application/json", _types),
    st.lists(_others, max_size=2),
    _mostly(b"{}", _bodies),
)
#: A valid request.
RIGHT = Call("POST", "/v1/predict", "a", "a", "application/json", [("RqUID", "r1")], b"{}")

_header_values = st.one_of(
    st.text(max_size=9), st.binary(max_size=4), st.integers(), st.none(), st.sampled_from(("a\r\nX: 1", "\n", "ok"))
)
_header_names = st.one_of(
    st.sampled_from(
        ["X-A", "x-a", "pg-status", "Content-Length", "Transfer-Encoding", "Connection", "Date", "Server", "Set-Cookie"]
    ),
    st.sampled_from(["Vary", "RqUID", "ETag"]),
    st.text(max_size=5),
    st.binary(max_size=3),
)
_statuses = st.one_of(
    st.integers(0, 700),
    st.sampled_from((200, 201, 202, 204, 205, 206, 301, 304, 404, 500)),
    st.text(max_size=3),
    st.booleans(),
)
replies = st.builds(
    lambda body, headers, status, kind, coding: Message(
        body, {**headers, "pg-status": status}, content_type=kind, content_encoding=coding
    ),
    st.binary(max_size=8),
    st.dictionaries(_header_names, _header_values, max_size=4),
    _statuses,
    st.one_of(st.none(), st.text(max_size=8), st.binary(max_size=3), st.sampled_from(("text/plain", "a\r\nb: c"))),
    st.one_of(
        st.none(), st.none(), st.text(max_size=8), st.sampled_from(("gzip", "identity", "a\r\nb: c", "br, GZIP"))
    ),
)
