"""Texts of queue files and access files: valid ones with changes, and any YAML with something unusual."""

from __future__ import annotations

import re

import yaml
from hypothesis import strategies as st

QUEUES = (
    "- {topic: ML.MQ, queueName: fib, bindingKey: 'predict.*', replyTo: response}\n",
    """
- topic: ML.MQ
  queueName: fib
  bindingKey: [a.*, 'b.#']
  dle: true
  dleParams: {dleExchange: x, dleQueue: y, dleArgs: {x-message-ttl: 60000, x-dead-letter-exchange: ML.MQ}}
  argQueue: {x-max-length: 5}
  timeout: 1.5
  prefetch: 3
""",
    "- &one {topic: '', queueName: a}\n- {<<: *one, queueName: b, queueType: quorum}\n",
    """
- topic: ML.MQ
  queueName: fraud
  bindingKey: ['predict.*', check]
  routingKey: predict.fraud
  paths: [/v1/fraud, '/v1/models/fraud:predict']
  accept: [application/json, 'image/*']
  acceptEncoding: gzip
  openInference: true
  model:
    url: https://fraud:8443/predict?key=1
    protocol: http
    cacert: ca.pem
    cert: cert.pem
    key: key.pem
    headers: {Authorization: 'Bearer ${TOKEN}', x-a: b}
    readyUrl: /ready
    name: fraud
- {topic: ML.MQ, queueName: other, bindingKey: '#.other', paths: /v1/other, routingKey: other}
""",
)
RULES = (
    """
- {identities: [client], routingKeys: ['#']}
- identities: ['*.example.org', '*']
  routingKeys: [a.*]
  rate: 1.5
  burst: 3
""",
)

#: Queue files with a repeated key, in places that are easily overlooked.
REPEATED = (
    "- {topic: A, topic: B, queueName: q, bindingKey: k}\n",
    "- {topic: A, queueName: q, bindingKey: k, argQueue: {x: 1, 'x': 2}}\n",
    "- {<<: {topic: A, topic: B}, queueName: q, bindingKey: k}\n",
    "- {<<: [{topic: A}, {prefetch: 1, prefetch: 2}], queueName: q, bindingKey: k}\n",
    "- {topic: A, queueName: q, bindingKey: k, argQueue: {&a x: 1, *a : 2}}\n",
)

_QUEUE_KEYS = (
    *(
        "topic",
        "queueName",
        "bindingKey",
        "replyTo",
        "replyToAllowed",
        "routingKey",
        "exchangeType",
        "durable",
        "queueType",
    ),
    *("concurrency", "minConcurrency", "maxPause", "busyTimeout", "readyUrl"),
    *("prefetch", "timeout", "dle", "dleParams", "argQueue", "maxAttempts", "retryDelay", "parkingQueue"),
    *("model", "paths", "accept", "acceptEncoding", "openInference"),
    *("url", "protocol", "cacert", "cert", "key", "headers", "name", "Authorization"),
    *("dleExchange", "dleExchangeType", "dleQueue", "dleArgs", "x-message-ttl", "x-dead-letter-exchange"),
)
_RULE_KEYS = ("identities", "routingKeys", "rate", "burst")

#: Scalars as text, many with a tag or a form that PyYAML treats specially.
_SCALARS = (
    *(
        "a",
        "predict.*",
        "'#'",
        "''",
        '"\\uD800"',
        "'a\n b'",
        '"a\\nb"',
        "null",
        "~",
        "",
        "true",
        "yes",
        "0",
        "1",
        "-1",
        "65536",
        "1.5",
        ".nan",
    ),
    *(
        ".inf",
        "-.inf",
        "1e400",
        "0x" + "f" * 20,
        "0x" + "f" * 4000,
        "9" * 5000,
        "0b1",
        "0o7",
        "1:2",
        "1_0",
        "2020-01-01",
        "2020-13-45",
    ),
    *(
        "2020-01-01T00:00:00+99:99",
        "=",
        "<<",
        "*a",
        "&a b",
        "&a [*a]",
        "&a {b: *a}",
        "!x y",
        "!!x y",
        "!<x> y",
        "?",
        "|",
        ">",
        "|\n x\n y",
        "@a",
        "`",
    ),
    *(
        "!!int x",
        "!!int ''",
        "!!float ''",
        "!!float x",
        "!!bool x",
        "!!null x",
        "!!timestamp x",
        "!!binary x",
        "!!binary \xe4",
        "!!str [a]",
    ),
    *(
        "!!map x",
        "!!map ab",
        "!!map [a]",
        "!!map [[a, b]]",
        "!!seq x",
        "!!seq {a: b}",
        "!!set {a}",
        "!!set x",
        "!!set [a]",
        "!!omap x",
        "!!omap [a]",
    ),
    *(
        "!!omap [{a: b}]",
        "!!pairs [a]",
        "!!pairs {a: b}",
        "!!merge x",
        "!!python/object:os.system x",
        "{? [a] : b}",
        "{? {a: b} : c}",
        "{1: 2}",
    ),
    *(
        "{a: 1, a: 2}",
        "{a: 1, 'a': 2}",
        "{<<: x}",
        "{<<: [x]}",
        "{<<: {a: b}}",
        "{<<: {topic: a, topic: b}}",
        "{true: a}",
        "{null: a}",
        "{1.5: a}",
    ),
    *(
        "{2020-01-01: a}",
        "{'a\nb': c}",
        '{"a\\nb": c}',
        '{"\\uD800": c}',
        '{"\\u2028": c}',
        "\u2028",
        "\x85",
        "\x00",
        "\ufeff",
        "\t",
        "%",
        "---",
        "...",
        "[" * 50,
    ),
)

#: Unknown keys of entries, as text.
_ODD_KEYS = (
    *('"a\\nb"', '"\\u2028"', '"\\x85"', "''", "1", "1.5", "true", "null", "2020-01-01", '"\\uD800"', "a b", "a-b"),
    *("!!binary YQ==", "[a]", "? [a] ", "<<", "=", "\xe4", "x" * 300),
)
_VALUE = re.compile(r": ([^,}\n]*)")


def _written(keys: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Values as text, among them collections with these keys."""
    scalars = st.one_of(st.sampled_from(_SCALARS), st.text(max_size=6))
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
            st.lists(st.tuples(st.one_of(st.sampled_from(keys), scalars), inner), max_size=4).map(
                lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items) + "}"
            ),
        ),
        max_leaves=8,
    )


def _built(keys: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Values of any structure, written by PyYAML."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.dates(),
        st.binary(max_size=3),
        st.sampled_from(
            ("topic", "direct", "fanout", "quorum", "classic", "*", "*.a", "a*", "\xe4" * 128, "q" * 256, 2**64)
        ),
    )
    values = st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(keys), scalars), inner, max_size=4)
        ),
        max_leaves=8,
    )
    entries = st.one_of(st.dictionaries(st.sampled_from(keys), values, max_size=6), values)
    return st.lists(entries, max_size=3).map(lambda value: yaml.safe_dump(value, allow_unicode=True))


@st.composite
def _changed(draw: st.DrawFn, valid: tuple[str, ...], keys: tuple[str, ...]) -> str:
    """A valid text changed in one or two places: a value replaced, or characters inserted or removed."""
    text = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 6))
        put = draw(
            st.one_of(
                st.sampled_from((*_SCALARS, *keys, *"{}[]:,-#&*!|>'\"%@?\n ")), st.text(max_size=3), _written(keys)
            )
        )
        place = draw(st.sampled_from(("value", "key", "any")))
        if place == "key" and "}" in text:
            start = end = text.find("}", start) if "}" in text[start:] else text.find("}")
            put = f", {draw(st.sampled_from(_ODD_KEYS))}: {put}"
        elif place == "value":
            value = _VALUE.search(text, start)
            start, end = value.span(1) if value else (start, end)
        text = text[:start] + put + text[end:]
    return text


@st.composite
def _listed(draw: st.DrawFn, keys: tuple[str, ...]) -> str:
    """A list of entries with any values."""
    entries = []
    for _ in range(draw(st.integers(1, 2))):
        pairs = draw(st.lists(st.tuples(st.sampled_from(keys), _written(keys)), max_size=5))
        entries.append("- {" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}\n")
    return "".join(entries)


def _texts(valid: tuple[str, ...], keys: tuple[str, ...]) -> st.SearchStrategy[str]:
    # UTF-8 has no surrogates.
    any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    return st.one_of(
        _changed(valid, keys), _listed(keys), _built(keys), _written(keys).map(lambda value: f"- {value}\n"), any_text
    )


queue_files = _texts(QUEUES, _QUEUE_KEYS)
access_files = _texts(RULES, _RULE_KEYS)
