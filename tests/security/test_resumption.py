"""Resumed TLS sessions: a ticket is good for the files with which it was made, and its client is checked again."""

from __future__ import annotations

import re
import subprocess
import threading
from typing import TYPE_CHECKING

import yaml

from tests.security.base import SecurityTestCase
from tests.security.certificates import caller, trusted_file
from tests.security.client import NoResponseError, post
from tests.security.processes import PATIENCE
from tests.security.reloading import ACCESS, EVERYBODY, LISTENER, ReloadTestCase, replace
from tests.support.certificates import HOUR, pem

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tests.security.base import Deployment
    from tests.support.certificates import Holder

#: What comes before a ticket in the DER bytes of a session: the tags and lengths of field 10.
_TICKET = re.compile(rb"\xaa\x82..\x04\x82..", re.DOTALL)


class ReloadedTests(ReloadTestCase):
    """Tickets while the listener's files change."""

    def session_of(self, tls: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSession:
        """Connect and have a request served; returns the session with the newest ticket."""
        with self.connect(tls, session=session) as connection:
            self.assertEqual(connection.ask(post(b"1")).status, 200)
            self.assertEqual(connection.socket.session_reused, session is not None)
            newest: ssl.SSLSession = connection.socket.session
        return newest

    def assert_full(self, tls: ssl.SSLContext, session: ssl.SSLSession) -> None:
        """Check that a session is not resumed, and its client let in after a full handshake."""
        with self.connect(tls, session=session) as connection:
            self.assertEqual(connection.ask(post(b"2")).status, 200)
            self.assertFalse(connection.socket.session_reused)

    def assert_refused(self, tls: ssl.SSLContext, session: ssl.SSLSession) -> None:
        """Check that a session's client is not let in, and that nothing of it reaches the model."""
        asked = len(self.model.asked)
        with self.assertRaises((OSError, NoResponseError)), self.connect(tls, session=session) as connection:
            connection.ask(post(b'"refused"'))
        self.assertEqual(len(self.model.asked), asked)

    def test_our_certificate_rotates(self) -> None:
        """After our certificate was replaced, a full handshake shows the new one."""
        tls = self.tls_of(self.client)
        session = self.session_of(tls)
        new = self.server_holder()
        self.new_volume(self.volume, new)
        self.reload()
        with self.connect(tls, session=session) as connection:
            self.assertEqual(connection.ask(post(b"2")).status, 200)
            self.assertFalse(connection.socket.session_reused)
        self.assert_shown(new)

    def test_authority_is_removed(self) -> None:
        """After its CA was removed, a client's ticket does not let it in."""
        tls = self.tls_of(self.client)
        session = self.session_of(tls)
        replace(self.folder / "ca.pem", pem(self.other_root.certificate))
        self.reload()
        self.assert_refused(tls, session)

    def test_authority_is_added(self) -> None:
        """Any change of the CAs ends the tickets of all clients; they are let in by a full handshake."""
        tls = self.tls_of(self.client)
        session = self.session_of(tls)
        replace(self.folder / "ca.pem", pem(self.root.certificate, self.other_root.certificate))
        self.reload()
        self.assert_full(tls, session)

    def test_revoked(self) -> None:
        """After a client was revoked, its ticket does not let it in; those of other clients end, too."""
        revoked = self.root.issue("revoked")
        theirs, ours = self.tls_of(revoked), self.tls_of(self.client)
        their_session, our_session = self.session_of(theirs), self.session_of(ours)
        lists = (self.root.revocation_list(revoked), self.intermediate.revocation_list())
        replace(self.folder / "crl.pem", b"".join(lists))
        self.reload()
        self.assert_refused(theirs, their_session)
        self.assert_full(ours, our_session)

    def test_nothing_changes(self) -> None:
        """SIGHUP alone, and a change of the access file, leave tickets good."""
        tls = self.tls_of(self.client)
        session = self.session_of(tls)
        replace(self.folder / "access.yaml", yaml.safe_dump([*EVERYBODY, *EVERYBODY]).encode())
        self.reload(ACCESS)
        session = self.session_of(tls, session)
        self.session_of(tls, session)

    def test_broken(self) -> None:
        """Broken files are refused, and leave tickets good."""
        tls = self.tls_of(self.client)
        session = self.session_of(tls)
        seen = len(self.gateway.log)
        replace(self.folder / "ca.pem", b"nonsense")
        self.gateway.hang_up()
        self.gateway.logged(f"{LISTENER}: the old one stays in force: HTTP_CACERT", seen)
        self.session_of(tls, session)

    def test_access_is_removed(self) -> None:
        """A client that resumes has the rights of the access file as it is now."""
        tls = self.tls_of(self.client)
        session = self.session_of(tls)
        replace(self.folder / "access.yaml", b"[{identities: [somebody else], routingKeys: ['#']}]")
        self.reload(ACCESS)
        with self.connect(tls, session=session) as connection:
            self.assertTrue(connection.socket.session_reused)
            self.assert_problem(connection.ask(post(b"2")), 403, "forbidden")

    def test_certificate_expires(self) -> None:
        """A client whose certificate has expired is not let in by its ticket."""
        for issuer in (self.root, self.intermediate):
            short = self.tls_of(issuer.issue("short", ends=HOUR / 1200))  # three seconds
            session = self.session_of(short, self.session_of(short))
            threading.Event().wait(4.1)  # OpenSSL counts whole seconds
            for _ in range(2):
                self.assert_refused(short, session)

    def test_list_expires(self) -> None:
        """After a revocation list has expired, no ticket lets a client in."""
        lists = (self.root.revocation_list(ends=HOUR / 720), self.intermediate.revocation_list())  # five seconds
        replace(self.folder / "crl.pem", b"".join(lists))
        self.reload()
        tls = self.tls_of(self.client)
        session = self.session_of(tls, self.session_of(tls))
        threading.Event().wait(6.1)
        self.assert_refused(tls, session)

    def test_authority_expires(self) -> None:
        """After an intermediate CA has expired, a ticket does not let its clients in."""
        below = self.root.issue("short CA", is_ca=True, ends=HOUR / 900)  # four seconds
        replace(self.folder / "crl.pem", self.root.revocation_list() + below.revocation_list())
        self.reload()
        tls = self.tls_of(below.issue("below"))
        session = self.session_of(tls, self.session_of(tls))
        threading.Event().wait(5.1)
        self.assert_refused(tls, session)

    def test_resumed_connection_stays_open(self) -> None:
        """A resumed connection is checked at reloads like any other: 403 once its client is revoked."""
        for holder in (self.root.issue("alone"), self.intermediate.issue("chained")):
            self.begin_anew()
            tls = self.tls_of(holder)
            connection = self.connect(tls, session=self.session_of(tls))
            self.assertEqual(connection.ask(post(b"2")).status, 200)
            self.assertTrue(connection.socket.session_reused)
            replace(self.folder / "ca.pem", pem(self.root.certificate, self.other_root.certificate))
            self.reload()
            self.assertEqual(connection.ask(post(b"3")).status, 200)
            lists = (self.root.revocation_list(holder), self.intermediate.revocation_list(holder))
            replace(self.folder / "crl.pem", b"".join((*lists, self.other_root.revocation_list())))
            self.reload()
            self.assert_turned_away(connection)


class TicketTests(SecurityTestCase):
    """Tickets as OpenSSL's own client stores them."""

    def client(self, *options: str, port: int | None = None) -> str:
        """Have one request served by ``openssl s_client``; returns what it prints."""
        pair = str(caller().write(self.deployment.folder / "s_client.pem"))
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port or self.gateway.port('https')}"]
        command += ["-CAfile", str(trusted_file()), "-cert", pair, "-key", pair, "-ign_eof", *options]
        request = post(b"1", b"Connection: close")
        done = subprocess.run(command, input=request, capture_output=True, timeout=PATIENCE, check=False)
        return done.stdout.decode("utf-8", "replace")

    def stored(self) -> Path:
        """A file with a session."""
        path = self.deployment.folder / "session.pem"
        self.assertIn("\nNew, TLSv1.3", self.client("-sess_out", str(path)))
        return path

    def test_resumed(self) -> None:
        """A stored session is resumed, and its client served."""
        stored = self.stored()
        for _ in range(2):
            printed = self.client("-sess_in", str(stored))
            self.assertIn("\nReused, TLSv1.3", printed)
            self.assertIn("HTTP/1.1 200 ", printed)

    def test_lifetime_and_early_data(self) -> None:
        """A ticket says that it is good for an hour, and that no request may come before the handshake (0-RTT)."""
        stored = self.stored()
        printed = self.openssl("sess_id", "-in", str(stored), "-noout", "-text").decode()
        self.assertIn("TLS session ticket lifetime hint: 3600 (seconds)", printed)
        self.assertIn("Max Early Data: 0", printed)
        early = self.deployment.folder / "early"
        early.write_bytes(post(b'"early"'))
        printed = self.client("-sess_in", str(stored), "-early_data", str(early))
        self.assertNotIn("Early data was accepted", printed)
        self.assertNotIn(b'"early"', self.model.bodies)

    def test_tampered(self) -> None:
        """A ticket of which any part was changed is not understood; its client makes a full handshake."""
        session = self.openssl("sess_id", "-in", str(self.stored()), "-outform", "DER")
        found = _TICKET.search(session)
        assert found is not None
        begin, length = found.end(), int.from_bytes(session[found.end() - 2 : found.end()], "big")
        tampered = self.deployment.folder / "tampered.der"
        # The name of the key, the initialization vector, the encrypted session, and its authentication code.
        for at in (0, 15, 16, 31, 32, length // 2, length - 33, length - 32, length - 1):
            changed = bytearray(session)
            changed[begin + at] ^= 1
            tampered.write_bytes(changed)
            pem_file = self.deployment.folder / "tampered.pem"
            pem_file.write_bytes(self.openssl("sess_id", "-inform", "DER", "-in", str(tampered), "-outform", "PEM"))
            printed = self.client("-sess_in", str(pem_file))
            self.assertIn("\nNew, TLSv1.3", printed, at)
            self.assertIn("HTTP/1.1 200 ", printed, at)
        self.assert_healthy()

    def test_other_ports(self) -> None:
        """A ticket opens nothing on the admin port, which has no TLS, and is of no use at another gateway."""
        stored = self.stored()
        self.assertNotIn("HTTP/1.1 200", self.client("-sess_in", str(stored), port=self.gateway.port("admin")))
        other = self.deployment.run()
        self.addCleanup(other.stop)
        other.ready()
        printed = self.client("-sess_in", str(stored), port=other.port("https"))
        self.assertIn("\nNew, TLSv1.3", printed)

    def openssl(self, *arguments: str) -> bytes:
        """The output of an ``openssl`` command."""
        return subprocess.run(["openssl", *arguments], capture_output=True, timeout=PATIENCE, check=True).stdout


class WorkersTests(SecurityTestCase):
    """Each worker has keys of its own for tickets."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Two workers."""
        return {"WORKERS": "2"}

    def tickets(self, holder: Holder) -> list[bool]:
        """Connect ten times, with the newest session each time; returns which connections were resumed."""
        tls, session, resumed = self.tls_of(holder), None, []
        for _ in range(10):
            with self.connect(tls, session=session) as connection:
                self.assertEqual(connection.ask(post(b"1")).status, 200)
                session = connection.socket.session
                resumed.append(connection.socket.session_reused)
        return resumed

    def test_served(self) -> None:
        """A client is served by whichever worker it comes to; one that does not know its ticket asks for more."""
        self.assertEqual(10, len(self.tickets(caller())))
