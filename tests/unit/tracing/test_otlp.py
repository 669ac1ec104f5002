"""Spans as OTLP, read back by the protocol's own classes."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.trial.unittest import SynchronousTestCase

from devtools.otlp_receiver import decode
from provider_gateway.tracing.context import TraceContext
from provider_gateway.tracing.otlp import SCHEMA_URL, RequestEncoder, SpanTemplate, encode_span
from provider_gateway.tracing.span import Kind, Span

PARENT = TraceContext("a" * 32, "c" * 16, True, "x=1")


def span(**changes: Any) -> Span:
    """A span that has ended."""
    records: Any = None
    values = {"kind": Kind.CONSUMER, "name": "process q", "fixed": {}, "state": "x=1", "attributes": {}}
    values |= {"parent": PARENT, "is_remote": True, **changes}
    parent, attributes = values["parent"], values["attributes"]
    made = Span(
        records,
        "a" * 32,
        b"" if parent is None else bytes.fromhex(parent.span_id),
        parent if values["is_remote"] else None,
        2.0,
        3.0,
        values["state"],
        SpanTemplate(values["kind"], values["name"], values["fixed"], tuple(attributes)),
        tuple(attributes.values()),
    )
    made.id = bytes.fromhex("b" * 16)
    made.until = 6.0
    return made


class EncodingTests(SynchronousTestCase):
    """What a collector reads."""

    def read(self, *spans: Span, **resource: object) -> list[object]:
        return list(decode(RequestEncoder(resource).encode([encode_span(each) for each in spans])))

    def test_whole(self) -> None:
        """A span arrives with ids, times, attributes of each type, its link and its error; the process is described."""
        attributes = {"text": "ä", "number": 7, "yes": True, "less": -7, "none": None, "surrogate": "\udcff"}
        made = span(attributes=attributes)
        made.fail("boom", "status")
        (found,) = self.read(made, **{"service.name": "s"})
        self.assertEqual((found.trace_id, found.span_id, found.parent_id), ("a" * 32, "b" * 16, "c" * 16))
        self.assertEqual(
            (found.kind, found.name, found.began, found.ended), ("CONSUMER", "process q", 5 * 10**9, 9 * 10**9)
        )
        read = {"text": "ä", "number": 7, "yes": True, "less": -7, "surrogate": "?", "error.type": "status"}
        self.assertEqual((found.attributes, found.error), (read, "boom"))
        self.assertEqual((found.links, found.state, found.flags), (("c" * 16,), "x=1", 0x301))
        self.assertEqual((found.resource, found.schema), ({"service.name": "s"}, SCHEMA_URL))

    def test_first(self) -> None:
        """The first span of a trace has no parent; a span of another kind has no link, wherever its parent is."""
        first, other, server = self.read(
            span(parent=None), span(kind=Kind.CLIENT, is_remote=False), span(kind=Kind.SERVER, state="")
        )
        self.assertEqual((first.parent_id, first.links, first.error), ("", (), None))
        self.assertEqual((other.links, other.flags), ((), 0x101))
        self.assertEqual((server.links, server.flags, server.parent_id), ((), 0x301, "c" * 16))

    def test_without_state(self) -> None:
        """A span and its link need no ``tracestate``; the link says that what it leads to is not recorded."""
        (found,) = self.read(span(state="", parent=PARENT._replace(state="", is_sampled=False)))
        self.assertEqual((found.state, found.links, found.parent_id), ("", ("c" * 16,), "c" * 16))

    def test_percent(self) -> None:
        """A percent sign stays one wherever it stands: encodings are made from templates."""
        made = span(name="100 %b", attributes={"%s": "%d %%"}, fixed={"%c": "5 %"})
        made.fail("%", "%b")
        (found,) = self.read(made)
        self.assertEqual((found.name, found.error), ("100 %b", "%"))
        self.assertEqual(found.attributes, {"%s": "%d %%", "%c": "5 %", "error.type": "%b"})

    def test_numbers(self) -> None:
        """Whole numbers of each size are read back; True is not 1."""
        numbers = {f"n{number}": number for number in (0, 1, 127, 128, 16_383, 16_384, 2**31, 2**63 - 1, -1, -(2**63))}
        numbers["yes"], numbers["no"] = True, False
        (found,) = self.read(span(attributes=numbers))
        self.assertEqual(
            {name: (type(v), v) for name, v in found.attributes.items()}, {n: (type(v), v) for n, v in numbers.items()}
        )

    def test_many(self) -> None:
        """A request of any size is read back: lengths take one, two and three bytes."""
        names = [f"{number} " + "x" * 200 for number in range(100)]
        self.assertEqual([each.name for each in self.read(*(span(name=name) for name in names))], names)

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
        """Attributes of a template stand beside those of the span."""
        (found,) = self.read(span(attributes={"b": 2}, fixed={"a": 1}))
        self.assertEqual(found.attributes, {"a": 1, "b": 2})

    def test_schema(self) -> None:
        """Both the process's part of a request and the spans' say whose names they use; nothing is beside them."""
        body = RequestEncoder({"service.name": "s"}).encode([encode_span(span())])
        request = ExportTraceServiceRequest.FromString(body)
        (of_process,) = request.resource_spans
        (of_scope,) = of_process.scope_spans
        self.assertEqual((of_process.schema_url, of_scope.schema_url), (SCHEMA_URL, SCHEMA_URL))
        self.assertEqual((len(of_scope.spans), request.ByteSize()), (1, len(body)))
