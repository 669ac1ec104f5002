"""``make demo``: certificates, a private RabbitMQ with TLS, a sample model and the gateway, until Ctrl-C."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.rabbitmq import RabbitMQ, RabbitMQError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
CERTS = FOLDER / "certs"
HTTP_PORT = os.environ.get("HTTP_PORT", "5050")
ADMIN_PORT = os.environ.get("ADMIN_PORT", "5080")
BODY = '{"data": "[29, 29]"}'
#: Seconds that a stopped process gets before it is killed.
STOP_TIMEOUT = 30
CERTIFICATE_DAYS = 30
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


def say(text: str) -> None:
    """Tell the user what happens."""
    print(text, flush=True)


def make_certificates() -> None:
    """Make them on the first run, and again before they expire."""
    made = CERTS / "cacert.pem"
    if made.exists() and time.time() - made.stat().st_mtime < (CERTIFICATE_DAYS - 1) * 86400:
        return
    say("· making certificates in .demo/certs")
    runpy.run_path(str(ROOT / "certs-example/make_certs.py"))["make_certificates"](CERTS, CERTIFICATE_DAYS)


def start(stack: ExitStack, command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that ends with the demo; what it says on standard error goes to a file."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stack.enter_context(log.open("w")),
        text=True,
        start_new_session=True,  # Ctrl-C is ours; they are stopped in order
    )
    stack.callback(end, process)
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Stop a process with SIGTERM, and by force if that is not enough."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def lines(process: subprocess.Popen[str], copy: Path | None = None) -> Iterator[str]:
    """The lines that a process writes, copied to a file."""
    assert process.stdout is not None
    with open(copy or os.devnull, "w") as file:
        for line in process.stdout:
            file.write(line)
            file.flush()
            yield line


def start_model(stack: ExitStack) -> str:
    """Start the sample model; returns its URL."""
    say("· starting the sample model")
    process = start(
        stack,
        [sys.executable, "-m", "provider_gateway.sample_model", "--port", "0"],
        FOLDER / "model.log",
        dict(os.environ),
    )
    url = next(lines(process), "").strip()
    if not url:
        msg = "The sample model did not start; see .demo/model.log"
        raise DemoError(msg)
    return url


def start_gateway(stack: ExitStack, broker: RabbitMQ, model_url: str) -> subprocess.Popen[str]:
    """Start provider-gateway and wait until it is ready."""
    say("· starting provider-gateway: twistd -n provider-gateway (log: .demo/gateway.log)")
    environment = {
        **os.environ,
        "RMQ_URL": broker.url,
        "MQ_CACERT": str(CERTS / "cacert.pem"),
        "MQ_CERT": str(CERTS / "client_cert_mq.pem"),
        "MQ_KEY": str(CERTS / "client_key_mq.pem"),
        "HTTP_ADDR": "127.0.0.1",
        "HTTP_PORT": HTTP_PORT,
        "HTTP_CERT": str(CERTS / "server_cert.pem"),
        "HTTP_KEY": str(CERTS / "server_key.pem"),
        "HTTP_CACERT": str(CERTS / "cacert.pem"),
        "ADMIN_ADDR": "127.0.0.1",
        "ADMIN_PORT": ADMIN_PORT,
        "MODEL_URL": model_url,
        "QUEUES_CONF": str(ROOT / "conf/queue_config.yaml"),
    }
    twistd = Path(sys.executable).with_name("twistd")
    process = start(stack, [str(twistd), "-n", "--pidfile=", "provider-gateway"], FOLDER / "gateway.err", environment)
    output = lines(process, FOLDER / "gateway.log")
    for line in output:
        if line.startswith("{") and json.loads(line)["message"] == "ready":
            # Its log goes on to the file.
            threading.Thread(target=lambda: list(output), daemon=True).start()
            return process
    process.wait()
    reason = (FOLDER / "gateway.err").read_text().strip() or "see .demo/gateway.log"
    msg = f"The gateway ended: {reason}\nIf a port is taken:  make demo HTTP_PORT=5051 ADMIN_PORT=5081"
    raise DemoError(msg)


def curl_command() -> list[str]:
    """The call to try."""
    certs = CERTS.relative_to(ROOT)
    return [
        "curl",
        "--cacert", f"{certs}/cacert.pem",
        "--cert", f"{certs}/client_cert.pem",
        "--key", f"{certs}/client_key.pem",
        "-H", "Content-Type: application/json",
        "-H", "routing-key: predict.now",
        "-d", BODY,
        f"https://localhost:{HTTP_PORT}/v1/predict",
    ]  # fmt: skip


def show(broker: RabbitMQ) -> None:
    """Make the call, and print it with its answer and what else there is to try."""
    command = curl_command()
    called = subprocess.run([*command, "-sS"], cwd=ROOT, capture_output=True, text=True, check=False)
    if called.returncode != 0:
        msg = f"curl failed: {called.stderr.strip()}"
        raise DemoError(msg)
    python = Path(sys.executable)
    python = python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
    say(
        f"""
It runs. Try it from another terminal, in this folder:

    {shlex.join(command)}

Its answer just now (how many digits 2 to the power of the sum of the first Fibonacci numbers has):

    {called.stdout}

A program that speaks AMQP itself:    {python} examples/initiator.py {broker.plain_url}
Health and metrics:                   curl http://localhost:{ADMIN_PORT}/health/ready   …/metrics
The model slow, failing, hanging:     add "delay": 2, "status": 500 or "hang": true to the body

Ctrl-C ends everything."""
    )


def run() -> None:
    """Start everything, show it, and stay until a signal or until a part ends."""
    started = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.callback(say, "· stopped, nothing is left running")
        make_certificates()
        say("· starting a private RabbitMQ on loopback, with TLS and client certificates (about 7 s)")
        broker = RabbitMQ(FOLDER / "rabbitmq", CERTS)
        stack.callback(broker.stop)
        broker.start()
        gateway = start_gateway(stack, broker, start_model(stack))
        show(broker)
        say(f"(up after {time.monotonic() - started:.0f} s)")
        gateway.wait()
        msg = "The gateway has ended; its log is .demo/gateway.log"
        raise DemoError(msg)


def interrupt(*_: object) -> None:
    """End the demo in order on Ctrl-C, SIGTERM and when its terminal closes; a second signal is not needed."""
    ignore_signals()
    say("\n· stopping")
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Let nothing interrupt the orderly end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Run from the command line."""
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        run()
    except (DemoError, RabbitMQError) as error:
        raise SystemExit(f"demo: {error}") from None
    except KeyboardInterrupt:
        pass  # asked for


if __name__ == "__main__":
    main()
