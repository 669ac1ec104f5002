"""What a TLS 1.3 handshake with a client certificate costs server and client: by kind of key, and when it is resumed.

    .venv/bin/python -m benchmarks.handshakes       # 20 s, without broker and network

The server's side is that of the HTTPS listener; the client is Python's. Both run in this process, and exchange bytes in
memory. A figure is the least of many, which other work on the machine does not change.
"""

from __future__ import annotations

import gc
import ssl
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.task import Clock

from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.settings import Settings
from provider_gateway.security.server_tls import ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Handshakes of a row.
_COUNT = 200
_KINDS: dict[str, Callable[[], Any]] = {
    "RSA 4096": lambda: rsa.generate_private_key(public_exponent=65_537, key_size=4096),
    "RSA 2048": lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2048),
    "ECDSA P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def _write(folder: Path, name: str, key: Any, issuer: tuple[x509.Name, Any] | None) -> tuple[x509.Name, Any]:
    """Issue a certificate, and write it and its key; returns what issues others."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, (issued_by, signer) = datetime.now(UTC), issuer or (subject, key)
    builder = x509.CertificateBuilder(issued_by, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    certificate = builder.sign(signer, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return subject, key


class _Pair:
    """A server and a client with keys of one kind."""

    def __init__(self, folder: Path, make_key: Callable[[], Any]) -> None:
        authority = _write(folder, "ca", make_key(), None)
        for name in ("server", "client"):
            _write(folder, name, make_key(), authority)
        files: Any = {"http_cert": folder / "server.pem", "http_key": folder / "server.key"}
        settings = Settings(_env_file=None, rmq_url="amqp://localhost/", http_cacert=folder / "ca.pem", **files)
        self._server = ServerTLS(settings, lambda *_: None, clock=Clock(), wall_clock=WALL_CLOCK)
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname, self._client.verify_mode = False, ssl.CERT_REQUIRED
        self._client.load_verify_locations(folder / "ca.pem")
        self._client.load_cert_chain(folder / "client.pem", folder / "client.key")
        self._session: ssl.SSLSession | None = None

    def shake_hands(self, *, resumes: bool) -> tuple[float, float]:
        """Make a connection; returns the server's CPU time and the client's."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self._session if resumes else None
        begun = time.process_time()
        client = self._client.wrap_bio(incoming, outgoing, session=session)
        of_client = time.process_time() - begun
        begun = time.process_time()
        unused: Any = None
        server = self._server.serverConnectionForTLS(unused)
        server.set_accept_state()
        of_server = time.process_time() - begun
        for _ in range(2):
            begun = time.process_time()
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
            of_client += time.process_time() - begun
            begun = time.process_time()
            server.bio_write(outgoing.read())
            with suppress(SSL.WantReadError):
                server.do_handshake()
            incoming.write(server.bio_read(65_536))  # the last ones are the tickets
            of_server += time.process_time() - begun
        begun = time.process_time()
        with suppress(ssl.SSLWantReadError):
            client.read(1)
        of_client += time.process_time() - begun
        self._session = client.session
        if bool(client.session_reused) is not resumes:
            msg = "the handshake was not of the kind that is measured"
            raise AssertionError(msg)
        return of_server, of_client


def main() -> None:
    """Measure, and print a table."""
    print("| handshake | server ms | client ms |\n| --- | ---: | ---: |")
    for name, make_key in _KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            pair = _Pair(Path(folder), make_key)
            for resumes in (False, True):
                gc.collect()
                gc.disable()
                times = [pair.shake_hands(resumes=resumes) for _ in range(_COUNT)]
                gc.enable()
                least = [min(side) * 1000 for side in zip(*times, strict=True)]
                print(f"| {name}, {'resumed' if resumes else 'full'} | {least[0]:.2f} | {least[1]:.2f} |")


if __name__ == "__main__":
    main()
