"""A model that answers every gRPC call at once, with nothing. Prints its address.

An empty message is a valid answer of both protocols. What the server takes does not count: it is another process.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class InstantModel(grpc.GenericRpcHandler):
    """Has every method."""

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:  # noqa: ARG002 - grpcio's
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((InstantModel(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
