"""A private RabbitMQ node on loopback, with its own name, ports and folders, and TLS with verify_peer."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devtools.ports import free_ports

#: Debian's server script; the wrapper in /usr/sbin runs only as root or rabbitmq.
DEBIAN_BIN = Path("/usr/lib/rabbitmq/bin")
START_TIMEOUT = 90
STOP_TIMEOUT = 30
#: Login of programs without a client certificate; safe, as the node is on loopback and lives for minutes.
USER, PASSWORD = "demo", "demo"


class RabbitMQError(Exception):
    """RabbitMQ is not installed or did not start; the text says what to do."""


def find_server() -> Path:
    """The rabbitmq-server script.

    Raises:
        RabbitMQError: RabbitMQ is not installed.
    """
    for candidate in (DEBIAN_BIN / "rabbitmq-server", shutil.which("rabbitmq-server")):
        if candidate and Path(candidate).exists():
            return Path(candidate)
    msg = "RabbitMQ is not installed. As root: apt-get install rabbitmq-server"
    raise RabbitMQError(msg)


class RabbitMQ:
    """One node.

    Args:
        folder: for its configuration, data and logs; is made anew at the first start.
        certificates: folder with ``cacert.pem``, ``broker_cert.pem``, ``broker_key.pem``.
        tls_port: None for a free one.
        plain_port: port without TLS, for tools; None for a free one.
        peer: a node whose cluster this one joins at its first start.
        settings: further lines of its ``rabbitmq.conf``.
    """

    def __init__(
        self,
        folder: Path,
        certificates: Path,
        tls_port: int | None = None,
        plain_port: int | None = None,
        peer: RabbitMQ | None = None,
        settings: str = "",
    ) -> None:
        free = free_ports(4)
        self.folder = folder.resolve()
        self._certificates = certificates.resolve()
        self.tls_port = tls_port or free[0]
        self.port = plain_port or free[1]
        self._distribution_port = free[2]
        self._peer = peer
        self._settings = settings
        # Nodes of a cluster share the port mapper and the cookie.
        self._epmd_port: int = peer._epmd_port if peer else free[3]
        self._cookie: str = peer._cookie if peer else secrets.token_hex()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._environment: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The name of the Erlang node."""
        return f"pg{self.port}@localhost"

    @property
    def is_running(self) -> bool:
        """True until the node ends, even while it is suspended."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Address for programs whose login is a client certificate."""
        return f"amqps://localhost:{self.tls_port}/"

    @property
    def plain_url(self) -> str:
        """Address for programs without TLS."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/"

    def configure(self) -> None:
        """Write the node's files anew.

        Raises:
            RabbitMQError: RabbitMQ is not installed.
        """
        find_server()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        permission = {"vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": "/"}],
            # The certificates' common names; with an empty hash, no password fits.
            "users": [
                {"name": "provider-gateway", "password_hash": "", "tags": ""},
                {"name": "initiator", "password_hash": "", "tags": ""},
                {"name": USER, "password": PASSWORD, "tags": ""},
            ],
            "permissions": [{"user": user, **permission} for user in ("provider-gateway", "initiator", USER)],
        }
        (self.folder / "definitions.json").write_text(json.dumps(definitions))
        (self.folder / "enabled_plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"""\
listeners.tcp.1 = 127.0.0.1:{self.port}
listeners.ssl.1 = 127.0.0.1:{self.tls_port}
ssl_options.cacertfile = {self._certificates}/cacert.pem
ssl_options.certfile = {self._certificates}/broker_cert.pem
ssl_options.keyfile = {self._certificates}/broker_key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
auth_mechanisms.1 = EXTERNAL
auth_mechanisms.2 = PLAIN
ssl_cert_login_from = common_name
load_definitions = {self.folder}/definitions.json
# The node is private: no disk or memory of others is to block it.
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
{self._settings}
"""
        )
        if self._peer:
            with (self.folder / "rabbitmq.conf").open("a") as conf:
                conf.write("cluster_formation.peer_discovery_backend = classic_config\n")
                for number, name in enumerate((self._peer.name, self.name), 1):
                    conf.write(f"cluster_formation.classic_config.nodes.{number} = {name}\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        self._environment = {
            "HOME": str(self.folder),  # holds the Erlang cookie
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # Schedulers that wait actively hold each other up on a busy machine: rabbitmqctl took 10 to 16 s, not 2.
            "RABBITMQ_CTL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # No terminal for Erlang.
            "TERM": "dumb",
        }

    def start(self) -> None:
        """Start the node and wait until it takes connections.

        Raises:
            RabbitMQError: it ended, or took more than 90 s; the text has the end of its output.
        """
        if not self._environment:
            self.configure()
        # The node ends with this program, even if nothing calls stop().
        atexit.register(self.stop)
        self._process = subprocess.Popen(
            [find_server()],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",  # its log quotes clients, whose bytes need not be UTF-8
            start_new_session=True,  # Ctrl-C reaches this program only, which stops the node in order
        )
        started, output = threading.Event(), [""]
        self._reader = threading.Thread(target=self._read, args=(self._process, started, output), daemon=True)
        self._reader.start()
        if not started.wait(START_TIMEOUT) or self._process.poll() is not None:
            self.kill()
            msg = f"RabbitMQ did not start. Its last words:\n{output[0][-2000:]}"
            raise RabbitMQError(msg)

    @staticmethod
    def _read(process: subprocess.Popen[str], started: threading.Event, output: list[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            output[0] += line
            if "completed with" in line:
                started.set()
        process.wait()
        started.set()

    def stop(self) -> None:
        """Stop the node in order; its data stays for another start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node at once."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Freeze the node with SIGSTOP: its connections stay open and silent until :meth:`resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a suspended node."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                os.killpg(self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._reader is None:
            return
        for each in (number, signal.SIGKILL):
            self._signal(each)
            self.resume()  # a suspended node would not handle SIGTERM
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
                break
        self._process = None
        # The process is the script around Erlang; its output ends when Erlang has ended.
        self._reader.join(STOP_TIMEOUT)
        self._end_port_mapper()

    def _end_port_mapper(self) -> None:
        """Stop epmd, which outlives the node; epmd refuses while another node is registered with it."""
        if not shutil.which("epmd"):
            return
        for _ in range(20):
            ran = subprocess.run(["epmd", "-names"], env=self._environment, capture_output=True, check=False)
            if f"name pg{self.port} ".encode() not in ran.stdout:
                break
            time.sleep(0.1)  # epmd still lists the node
        subprocess.run(["epmd", "-kill"], env=self._environment, capture_output=True, check=False)

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl with these arguments, such as ``stop_app``; returns its output."""
        command = [str(find_server().with_name("rabbitmqctl")), "--quiet", *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout


def cluster(folder: Path, certificates: Path, count: int = 3) -> list[RabbitMQ]:
    """Start nodes that form one cluster; each has its own name, ports and folder below ``folder``.

    Raises:
        RabbitMQError: one of them did not start; the others are killed.
    """
    first = RabbitMQ(folder / "node-1", certificates)
    first.start()
    others = [RabbitMQ(folder / f"node-{number}", certificates, peer=first) for number in range(2, count + 1)]
    try:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(RabbitMQ.start, others))
    except RabbitMQError:
        for node in (*others, first):
            node.kill()
        raise
    return [first, *others]


def main() -> None:
    """Start a node by hand: ``python -m devtools.rabbitmq FOLDER CERTIFICATES [TLS_PORT]``; Ctrl-C ends it."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed sends the second
        signal.signal(number, lambda *_: sys.exit())  # and the node ends with the program
    folder, certificates, *port = sys.argv[1:]
    node = RabbitMQ(Path(folder), Path(certificates), *map(int, port))
    try:
        node.start()
    except RabbitMQError as error:
        sys.exit(str(error))
    print(f"{node.url}\n{node.plain_url}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    node.stop()


if __name__ == "__main__":
    main()
