"""An MLServer process with one model, ``echo``, which answers with the tensors that it gets."""

from __future__ import annotations

import atexit
import json
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from urllib.error import URLError

from tests.support.folders import ROOT

#: Made by ``make test``.
_PROGRAM = ROOT / ".venv-mlserver/bin/mlserver"


class MLServer:
    """The process.

    Attributes:
        rest: its URL.
        grpc: the URL of its gRPC side.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            ports: list[int] = [each.getsockname()[1] for each in listeners]
        self.rest, self.grpc = (f"http://127.0.0.1:{port}" for port in ports[:2])
        folder = Path(tempfile.mkdtemp(prefix="provider-gateway-mlserver-"))
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        settings |= dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
        (folder / "settings.json").write_text(json.dumps(settings))
        model = {"name": "echo", "implementation": "mlserver_model.Echo"}
        (folder / "model-settings.json").write_text(json.dumps(model))
        (folder / "mlserver_model.py").write_bytes((Path(__file__).parent / "mlserver_model.py").read_bytes())
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([_PROGRAM, "start", folder], stdout=log, stderr=log, cwd=folder)
        atexit.register(self._stop)
        self._wait()

    def _wait(self) -> None:
        """Wait until it is ready: it says so only to those who ask."""
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.rest}/v2/models/echo/ready", timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(self._log.read_text())

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


@cache
def mlserver() -> MLServer:
    """The one of this test process, started when it is first needed."""
    if not _PROGRAM.exists():
        msg = f"{_PROGRAM} is missing: make .venv-mlserver/.installed"
        raise AssertionError(msg)
    return MLServer()
