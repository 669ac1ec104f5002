"""A private PostgreSQL server on loopback, with TLS and passwords, its standby, and PgBouncer in front of it."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from devtools.ports import free_ports

#: Debian's programs, of all installed versions.
DEBIAN = Path("/usr/lib/postgresql")
START_TIMEOUT = 60
STOP_TIMEOUT = 30
#: The role that owns the databases, and the one whose login is the certificate client_cert_mq.pem. The password has
#: what has to be quoted in a URL.
ROLE, CERTIFIED = "gateway", "provider-gateway"
PASSWORD = f"pg/@:%{secrets.token_hex(8)}"


class PostgreSQLError(Exception):
    """PostgreSQL is not installed or did not start; the text says what to do."""


def find(program: str) -> str:
    """The path of a program of PostgreSQL's, in its newest version.

    Raises:
        PostgreSQLError: it is not installed.
    """
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for candidate in (*(folder / program for folder in versions), shutil.which(program)):
        if candidate and Path(candidate).exists():
            return str(candidate)
    msg = f"{program} is not installed. As root: apt-get install postgresql pgbouncer"
    raise PostgreSQLError(msg)


def user() -> dict[str, Any]:
    """The user that servers run as, as arguments of Popen: PostgreSQL and PgBouncer refuse root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    msg = "there is no user that PostgreSQL could run as: postgres and nobody are missing"
    raise PostgreSQLError(msg)


def own(*paths: Path) -> None:
    """Give files to the user that servers run as."""
    as_user = user()
    if as_user:
        for path in paths:
            os.chown(path, as_user["user"], as_user["group"])


class Server:
    """A process that is the user's of :func:`user`, in a folder of its own, and ends with this program.

    Attributes:
        folder: in the system's folder for temporary files, where that user can reach it.
        port: on 127.0.0.1.
        output: what it wrote.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-gateway-"))
        self.folder.chmod(0o755)
        own(self.folder)
        atexit.register(self.remove)
        (self.port,) = free_ports(1)
        self.output = ""
        self._process: subprocess.Popen[str] | None = None

    def remove(self) -> None:
        """End the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str, **options: Any) -> str:
        """Run a command as the user of the server; returns its output.

        Raises:
            PostgreSQLError: it failed; the text has its errors.
        """
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        ran = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False, **user(), **options
        )
        if ran.returncode:
            msg = f"{command[0]}: {ran.stderr.strip()}"
            raise PostgreSQLError(msg)
        return ran.stdout

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file of the server's folder."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        own(path)
        return path

    def _launch(self, command: list[str], ready: str) -> None:
        self._process = subprocess.Popen(
            command,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this program only, which stops the server in order
            **user(),
        )
        assert self._process.stdout is not None
        is_ready = threading.Event()
        threading.Thread(target=self._read, args=(self._process.stdout, ready, is_ready), daemon=True).start()
        if not is_ready.wait(START_TIMEOUT) or self._process.poll() is not None:
            self.kill()
            msg = f"{command[0]} did not start. Its last words:\n{self.output[-2000:]}"
            raise PostgreSQLError(msg)

    def _read(self, pipe: IO[str], ready: str, is_ready: threading.Event) -> None:
        for line in pipe:
            self.output += line
            if ready in line:
                is_ready.set()
        is_ready.set()

    def processes(self) -> list[int]:
        """The server's process and its children. They have sessions of their own, so no group."""
        if self._process is None or self._process.poll() is not None:
            return []
        parent, found = self._process.pid, []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(status.parent.name))
        return [parent, *found]

    def _signal(self, number: signal.Signals) -> None:
        # First the parent: it restarts children that die.
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def suspend(self) -> None:
        """Freeze the server with SIGSTOP: its connections stay open and silent until :meth:`resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a suspended server."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server and all of its children at once, with SIGKILL."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT)

    def stop(self) -> None:
        """Stop the server in order, without waiting for its clients."""
        if self._process is not None:
            self.resume()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
            self.kill()


class PostgreSQL(Server):
    """One server.

    Args:
        certificates: folder with ``cacert.pem``, ``broker_cert.pem``, ``broker_key.pem``.
        settings: further lines of its ``postgresql.conf``.
        primary: a running server that this one follows until :meth:`promote`.
    """

    def __init__(self, certificates: Path, settings: str = "", primary: PostgreSQL | None = None) -> None:
        super().__init__()
        self._certificates = certificates
        self._settings = settings
        self._primary = primary
        self.data = self.folder / "data"

    def start(self) -> None:
        """Start the server and wait until it takes connections; its data is made at the first start.

        Raises:
            PostgreSQLError: it did not start.
        """
        if not self.data.exists():
            self._make_data()
        self._launch([find("postgres"), "-D", str(self.data)], "ready to accept")

    def restart(self) -> None:
        """Stop the server in order, and start it again."""
        self.stop()
        self.start()

    def _make_data(self) -> None:
        for part in ("cert", "key"):
            self.write(f"server_{part}.pem", (self._certificates / f"broker_{part}.pem").read_text())
        self.write("cacert.pem", (self._certificates / "cacert.pem").read_text())
        if self._primary is not None:
            source = f"host={self._primary.folder} port={self._primary.port} user=postgres"
            self.run(find("pg_basebackup"), "-D", str(self.data), "-R", "-c", "fast", "--no-sync", "-d", source)
        else:
            options = ("--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8")
            self.run(find("initdb"), "-D", str(self.data), *options)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"""
listen_addresses = '127.0.0.1'
port = {self.port}
unix_socket_directories = '{self.folder}'
ssl = on
ssl_ca_file = '{self.folder}/cacert.pem'
ssl_cert_file = '{self.folder}/server_cert.pem'
ssl_key_file = '{self.folder}/server_key.pem'
password_encryption = 'scram-sha-256'
shared_buffers = 64MB
{self._settings}
"""
            )
        (self.data / "pg_hba.conf").write_text(
            f"""\
local all,replication all trust
hostssl all {CERTIFIED} 127.0.0.1/32 cert
host all all 127.0.0.1/32 scram-sha-256
"""
        )
        if self._primary is None:
            sql = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE \"{CERTIFIED}\" LOGIN"
            command = [find("postgres"), "--single", "-j", "-D", str(self.data), "postgres"]
            self.run(*command, input=f"{sql};\n\n")

    def promote(self) -> None:
        """Make a standby the primary."""
        self.sql("SELECT pg_promote()")

    def sql(self, *statements: str, database: str = "postgres") -> str:
        """Run statements one by one as superuser; returns their output, columns separated by ``|``."""
        options = [option for statement in statements for option in ("-c", statement)]
        place = ("-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database)
        return self.run(find("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", *place, *options).strip()

    def new_database(self, owner: str = ROLE) -> str:
        """Make an empty database; returns its name."""
        name = f"results_{secrets.token_hex(4)}"
        self.sql(f'CREATE DATABASE {name} OWNER "{owner}"')
        return name

    def url(self, database: str, **parameters: str) -> str:
        """The address of a database for its owner, with TLS.

        Args:
            parameters: further ones of libpq's.
        """
        known = {"sslmode": "verify-full", "sslrootcert": str(self._certificates / "cacert.pem")}
        return url(database, self.port, **{**known, **parameters})


def url(database: str, *ports: int, **parameters: str) -> str:
    """The address of a database for :data:`ROLE`, at one or several ports of this machine."""
    places = ",".join(f"localhost:{port}" for port in ports)
    query = urlencode(parameters, quote_via=quote)
    return f"postgresql://{ROLE}:{quote(PASSWORD, safe='')}@{places}/{database}{query and f'?{query}'}"


class PgBouncer(Server):
    """PgBouncer in transaction mode, which refuses startup parameters that it does not know.

    Args:
        server: whose databases it offers, under the same names.
        size: how many connections to the server it has at most for a database.
    """

    def __init__(self, server: PostgreSQL, size: int = 2) -> None:
        super().__init__()
        self._server = server
        self._size = size

    def start(self) -> None:
        """Start it, and wait until it takes connections.

        Raises:
            PostgreSQLError: it did not start.
        """
        users = self.write("users.txt", f'"{ROLE}" "{PASSWORD}"\n')
        configuration = self.write(
            "pgbouncer.ini",
            f"""\
[databases]
* = host=127.0.0.1 port={self._server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {self._size}
""",
        )
        self._launch([_pgbouncer(), str(configuration)], "process up")

    def url(self, database: str, **parameters: str) -> str:
        """The address of a database through PgBouncer, without TLS."""
        return url(database, self.port, **{"sslmode": "disable", **parameters})


def _pgbouncer() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        msg = "pgbouncer is not installed. As root: apt-get install pgbouncer"
        raise PostgreSQLError(msg)
    return found
