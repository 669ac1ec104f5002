"""Receives spans by OTLP over HTTP, and shows each trace as a tree: ``python -m devtools.otlp_receiver [PORT]``.

The tests use :class:`Receiver`. The program prints the traces in which nothing has happened for a while.
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from twisted.internet.interfaces import IListeningPort

#: The port of OTLP over HTTP (OTLP specification).
PORT = 4318
#: Seconds after which a trace is complete.
_QUIET = 2.0
_KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
_ERROR = 2


def _plain(value: AnyValue) -> object:
    which = value.WhichOneof("value")
    return None if which is None else getattr(value, which)


def _dict(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span, decoded.

    Attributes:
        resource: the attributes of its process.
        parent_id: empty for the first span of a trace.
        links: the ids of the spans that it is linked to.
        began, ended: nanoseconds since 1970.
        error: None if its status is no error.
    """

    resource: dict[str, Any]
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    began: int
    ended: int
    error: str | None
    schema: str
    flags: int
    state: str


def decode(body: bytes) -> list[ReceivedSpan]:
    """The spans of a request's body."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        ReceivedSpan(
            resource=_dict(of_resource.resource.attributes),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            kind=_KINDS.get(span.kind, str(span.kind)),
            attributes=_dict(span.attributes),
            links=tuple(link.span_id.hex() for link in span.links),
            began=span.start_time_unix_nano,
            ended=span.end_time_unix_nano,
            error=span.status.message if span.status.code == _ERROR else None,
            schema=of_scope.schema_url,
            flags=span.flags,
            state=span.trace_state,
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def tree(spans: Sequence[ReceivedSpan], detail: Callable[[ReceivedSpan], str] = lambda _: "") -> str:
    """The spans of one trace, a line each, below the one that each is a part of.

    Args:
        detail: is added to a span's line.
    """
    known = {span.span_id for span in spans}
    ordered = sorted(spans, key=lambda span: span.began)
    start = ordered[0].began
    lines: list[str] = []

    def add(span: ReceivedSpan, depth: int) -> None:
        error = "" if span.error is None else f"  ERROR {span.error or span.attributes.get('error.type')}"
        times = f"+{(span.began - start) / 1e6:.1f} ms, {(span.ended - span.began) / 1e6:.1f} ms"
        where = span.resource.get("service.name", "?")
        lines.append(f"{'   ' * depth}{span.kind:<8} {span.name}  [{where}]  {times}{detail(span)}{error}")
        for each in ordered:
            if each.parent_id == span.span_id:
                add(each, depth + 1)

    for span in ordered:
        if span.parent_id not in known:
            add(span, 0)
    return "\n".join(lines)


@dataclass
class Receiver(Resource):
    """Takes spans at ``/v1/traces``.

    Attributes:
        spans: all that were taken.
        on_spans: called with those of each request.
        statuses: of the next responses; 200 if there are none left.
        requests: headers and size of each request.
    """

    spans: list[ReceivedSpan] = field(default_factory=list)
    on_spans: Callable[[list[ReceivedSpan]], object] = lambda _: None
    statuses: list[int] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    isLeaf = True

    def __post_init__(self) -> None:
        super().__init__()

    def render_POST(self, request: Any) -> bytes:
        """Take the spans of a request (twisted.web.resource.IResource)."""
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.requests.append(headers)
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            request.setResponseCode(status)
            return b""
        body = request.content.read()
        spans = decode(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
        self.spans += spans
        self.on_spans(spans)
        request.setHeader("Content-Type", "application/x-protobuf")
        return b""

    def traces(self) -> dict[str, list[ReceivedSpan]]:
        """The spans by the traces that they belong to."""
        traces: dict[str, list[ReceivedSpan]] = {}
        for span in self.spans:
            traces.setdefault(span.trace_id, []).append(span)
        return traces

    def listen(self, reactor: Any, port: int = 0) -> IListeningPort:
        """Listen on loopback."""
        listening: IListeningPort = reactor.listenTCP(port, Site(self), interface="127.0.0.1")
        return listening


def _main(reactor: Any, port: str = str(PORT)) -> Deferred[None]:
    receiver = Receiver()
    waiting: dict[str, Any] = {}

    def show(trace_id: str) -> None:
        del waiting[trace_id]
        spans = [span for span in receiver.spans if span.trace_id == trace_id]
        receiver.spans[:] = [span for span in receiver.spans if span.trace_id != trace_id]
        print(f"\ntrace {trace_id}\n{tree(spans)}", flush=True)

    def received(spans: list[ReceivedSpan]) -> None:
        for trace_id in {span.trace_id for span in spans}:
            if trace_id in waiting:
                waiting[trace_id].cancel()
            waiting[trace_id] = reactor.callLater(_QUIET, show, trace_id)

    receiver.on_spans = received
    receiver.listen(reactor, int(port))
    print(f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port}", flush=True)
    return Deferred()


if __name__ == "__main__":
    task.react(_main, sys.argv[1:])
