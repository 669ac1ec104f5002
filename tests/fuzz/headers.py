"""Header names that are not passed on, and header tables of messages."""

from __future__ import annotations

from hypothesis import strategies as st

#: Names, in lower case, of hop-by-hop headers, and of headers of the gateway and the broker.
NOT_PASSED = (
    *(
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    ),
    *(
        "proxy-authenticate",
        "proxy-authorization",
        "expect",
        "host",
        "content-encoding",
        "accept-encoding",
        "date",
        "server",
    ),
    *("authorization", "cookie", "set-cookie", "x-forwarded-client-cert", "content-type", "rquid", "vary"),
    *("cc", "bcc", "x-death", "x-delivery-count", "x-acquired-count"),
    *(
        "pg-",
        "pg-status",
        "pg-attempt",
        "pg-x",
        "access-control-allow-origin",
        "x-first-death-queue",
        "x-last-death-reason",
    ),
)


def _cased(name: str) -> st.SearchStrategy[str]:
    """A name with any mixture of cases."""
    return st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda upper: "".join(c.upper() if up else c for c, up in zip(name, upper, strict=True))
    )


reserved = st.sampled_from(NOT_PASSED).flatmap(_cased)
tokens = st.text(st.sampled_from("aAxX-_0~!|.^"), min_size=1, max_size=8)
anything = st.one_of(
    st.text(max_size=12),
    st.binary(max_size=12),
    st.integers(),
    st.none(),
    st.booleans(),
    st.lists(st.text(max_size=3), max_size=2),
)


def is_reserved(name: str) -> bool:
    """True for a header that is not passed on."""
    lowered = name.lower()
    return lowered in NOT_PASSED or lowered.startswith(("pg-", "access-control-", "x-first-death-", "x-last-death-"))


table = st.dictionaries(
    st.one_of(reserved, tokens, st.text(max_size=8), st.binary(max_size=8)),
    st.one_of(anything, st.sampled_from(("a\r\nX: 1", "a\nb", "\0", "ok", "ä"))),
    max_size=8,
)
