"""A gRPC server of grpcio in the test's own process, in threads: its methods are functions of the test."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.grpc_model.over_grpc import over_grpc
from provider_gateway.model.interface import ConnectedModel, ModelTarget
from provider_gateway.model.model_errors import ModelErrors
from provider_gateway.security.pem import PEMFile
from provider_gateway.security.tls import ClientTLS
from tests.support.certificates import certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.defer import Deferred


class GRPCServer(grpc.GenericRpcHandler):
    """A server whose methods are those of :attr:`methods`, by their last name; it keeps what it is asked.

    Attributes:
        methods: each makes the encoded answer from the encoded request and grpcio's context.
        requests: method, encoded request and metadata of each call.
        ended: set when a call that waits has ended at the client's side.
        port: where it listens.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> None:
        self.methods: dict[str, Callable[[bytes, grpc.ServicerContext], bytes]] = {}
        self.requests: list[tuple[str, bytes, dict[str, str | bytes]]] = []
        self.ended = threading.Event()
        self.peers: set[str] = set()
        self._server = grpc.server(ThreadPoolExecutor(20), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """The function for a method (grpc.GenericRpcHandler)."""
        path = handler_call_details.method
        method = self.methods.get(path.rpartition("/")[2])
        if method is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata)

        def serve(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.requests.append((path, request, metadata))
            self.peers.add(context.peer())
            return method(request, context)

        return grpc.unary_unary_rpc_method_handler(serve)

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """A method that answers when the client has gone."""
        context.add_callback(self.ended.set)
        self.ended.wait(10)
        return request

    def drain(self) -> None:
        """Ask clients for no more calls on their connections; calls under way go on."""
        self._server.stop(10)

    def stop(self) -> None:
        """End at once, also the calls under way."""
        self.ended.set()
        self._server.stop(None).wait()


class GRPCTestCase(TestCase):
    """Calls of a model on a real server.

    Attributes:
        server: the server.
    """

    def setUp(self) -> None:
        self.unsafe = 0
        self.server = self.serve()

    def serve(self, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> GRPCServer:
        """A new server."""
        server = GRPCServer(credentials, port)
        self.addCleanup(server.stop)
        return server

    def tls(self, cacert: Path | None, cert: Path | None = None, key: Path | None = None) -> ClientTLS:
        """TLS towards the model."""
        files = [PEMFile.if_set(name, path) for name, path in (("cacert", cacert), ("cert", cert), ("key", key))]
        return ClientTLS("model", cacert=files[0], cert=files[1], key=files[2])

    def model_at(
        self, url: str, *, name: str | None = None, tls: ClientTLS | None = None, **more: Any
    ) -> ConnectedModel:
        """The model at a URL: one of the Open Inference Protocol, if it has a name."""
        given: dict[str, Any] = {
            "queues": ("q",),
            "protocol": "mlserving-grpc" if name is None else "open-inference-grpc",
            "ready_url": None,
            "headers": {},
            "connections": 10,
            "max_body_bytes": 100_000,
            "wall_clock": time.time,
            "on_unsafe_header": self.is_unsafe,
            "errors": ModelErrors(),
            **more,
        }
        tls = tls or self.tls(certificates() / "cacert.pem")
        connected = over_grpc(reactor, ModelTarget(url=MaskedURL(url), name=name, tls=tls, **given))
        self.addCleanup(connected.close)
        return connected

    def is_unsafe(self) -> None:
        """Count a header that is left out."""
        self.unsafe += 1

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run what blocks."""
        return deferToThread(function, *arguments)
