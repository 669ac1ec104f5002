"""A collector of traces that takes everything and reads nothing. Prints its address, and runs until it is killed."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

reactor: Any = global_reactor


class _Collector(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        request.setHeader("Content-Type", "application/x-protobuf")
        return b""


if __name__ == "__main__":
    port = reactor.listenTCP(0, Site(_Collector()), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}", flush=True)
    reactor.run()
