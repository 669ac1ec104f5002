"""Spans as OTLP, read back by the protocol's own classes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from devtools.otlp_receiver import decode
from provider_gateway.tracing.context import TraceContext
from provider_gateway.tracing.otlp import SCHEMA_URL, RequestEncoder, encode_attributes, encode_span
from provider_gateway.tracing.span import Kind, Span

OWN, PARENT = TraceContext("a" * 32, "b" * 16, True, "x=1"), TraceContext("a" * 32, "c" * 16, True, "x=1")


def span(**changes: Any) -> Span:
    """A span that has ended."""
    values: dict[str, Any] = {
        "is_remote": True, "kind": Kind.CONSUMER, "name": "process q", "began": 5, "since": 0.0,
        "on_end": lambda _: None,
    }  # fmt: skip
    attributes = changes.pop("attributes", {})
    made = Span(OWN, changes.pop("parent", PARENT), **{**values, **changes})
    made.attributes = attributes
    made.ended = 9
    return made


class EncodingTests(SynchronousTestCase):
    """What a collector reads."""

    def read(self, *spans: Span, **resource: object) -> list[object]:
        return list(decode(RequestEncoder(resource).encode(map(encode_span, spans))))

    def test_whole(self) -> None:
        """A span arrives with ids, times, attributes of each type, its link and its error; the process is described."""
        attributes = {"text": "ä", "number": 7, "yes": True, "less": -7, "none": None, "surrogate": "\udcff"}
        made = span(attributes=attributes)
        made.fail("boom", "status")
        (found,) = self.read(made, **{"service.name": "s"})
        self.assertEqual((found.trace_id, found.span_id, found.parent_id), ("a" * 32, "b" * 16, "c" * 16))
        self.assertEqual((found.kind, found.name, found.began, found.ended), ("CONSUMER", "process q", 5, 9))
        read = {"text": "ä", "number": 7, "yes": True, "less": -7, "surrogate": "?", "error.type": "status"}
        self.assertEqual((found.attributes, found.error), (read, "boom"))
        self.assertEqual((found.links, found.state, found.flags), (("c" * 16,), "x=1", 0x301))
        self.assertEqual((found.resource, found.schema), ({"service.name": "s"}, SCHEMA_URL))

    def test_first(self) -> None:
        """The first span of a trace has no parent; a span of another kind has no link."""
        first, other = self.read(span(parent=None), span(kind=Kind.CLIENT, is_remote=False))
        self.assertEqual((first.parent_id, first.links, first.error), ("", (), None))
        self.assertEqual((other.links, other.flags), ((), 0x101))

    def test_many(self) -> None:
        """A request of any size is read back: lengths take one, two and three bytes."""
        spans = [span(name=f"{number} " + "x" * 200) for number in range(100)]
        self.assertEqual([each.name for each in self.read(*spans)], [each.name for each in spans])

    def test_long(self) -> None:
        """A text is cut after 1,000 characters: a hostile header must not fill the queue."""
        (found,) = self.read(span(attributes={"text": "ä" * 100_000}))
        self.assertEqual(found.attributes["text"], "ä" * 1000)

    def test_each_length(self) -> None:
        """Names and texts of each length are read back, also where the encoding of a length gets longer."""
        texts = {"n" * size: "x" * size for size in (*range(1, 140), 999, 1000)}
        (found,) = self.read(span(attributes=texts))
        self.assertEqual(found.attributes, texts)

    def test_fixed(self) -> None:
        """Attributes that were encoded before stand beside the others."""
        made = span(attributes={"b": 2})
        made.fixed = encode_attributes({"a": 1})
        (found,) = self.read(made)
        self.assertEqual(found.attributes, {"a": 1, "b": 2})
