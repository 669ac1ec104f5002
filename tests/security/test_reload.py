"""The listener's certificate is replaced while it runs: no connection is lost, a broken one is refused."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.security.client import Connection, post
from tests.security.processes import PATIENCE
from tests.security.reloading import ACCESS, LISTENER, ReloadTestCase, replace
from tests.support.certificates import HOUR, SERVER, local_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.security.client import Response


class CertificateTests(ReloadTestCase):
    """The listener's own certificate and key."""

    def test_hangup(self) -> None:
        """SIGHUP: new connections get the new certificate, open ones go on, and the reload is counted."""
        kept = self.kept(self.client), self.connect(self.tls_of(self.client, is_trusting=True))
        self.assertEqual(kept[1].ask(post(b"1")).status, 200)
        loaded = self.reloads(LISTENER, "loaded")
        new = self.root.issue("gateway", purpose=SERVER, names=local_names(), ends=5 * HOUR)
        self.new_volume(self.volume, new)
        self.reload()
        for each in kept:
            self.assertEqual(each.ask(post(b"2")).status, 200)
        self.assert_shown(new)
        self.assertEqual(self.reloads(LISTENER, "loaded"), loaded + 1)
        self.assertGreater(self.metric('provider_gateway_certificate_expiry_seconds{side="server"}'), 4.9 * 3600)

    def test_kubernetes(self) -> None:
        """A volume's files are replaced by one rename of a link: they are loaded without a signal, each time."""
        kept = self.kept(self.client)
        for _ in range(2):
            new, seen = self.server_holder(), len(self.gateway.log)
            self.new_volume(self.volume, new)
            self.gateway.logged(f"{LISTENER}: loaded again", seen)
            self.assert_shown(new)
        self.assertEqual(kept.ask(post(b"2")).status, 200)

    def test_link_on_the_way(self) -> None:
        """A changed link in the path of the files is noticed as well, and then changes at its new target."""
        other = self.folder / f"volume-{len(self.gateway.log)}"
        other.mkdir()
        for change in (lambda: self.mount(self.folder, other.name), lambda: None):
            new, seen = self.server_holder(), len(self.gateway.log)
            new.write(other / "tls.crt", other / "tls.key")
            change()
            self.gateway.logged(f"{LISTENER}: loaded again", seen)
            self.assert_shown(new)

    def test_files_written_in_place(self) -> None:
        """Certificate and key written in place, one after the other, are loaded once, when they fit each other."""
        new, data = self.server_holder(), (self.volume / "..data").resolve()
        new.write(data / "tls.crt", self.folder / "key.tmp")
        self.assertFalse(self.gateway_says("loaded again", 0.4))
        (data / "tls.key").write_bytes((self.folder / "key.tmp").read_bytes())
        self.gateway.logged(f"{LISTENER}: loaded again", self.log_begin)
        self.assert_shown(new)
        self.assertEqual([line for line in self.logged_since() if line["level"] == "error"], [])

    def gateway_says(self, text: str, seconds: float) -> bool:
        """True if the gateway logs this text within some seconds."""
        threading.Event().wait(seconds)
        return any(text in line["message"] for line in self.logged_since())

    def test_broken(self) -> None:
        """A broken replacement is refused with one error line, and counted; the old certificate stays in use."""
        first, kept = self.shown(), self.kept(self.client)
        good, another = self.server_holder(), self.server_holder()
        certificate, key = (good.write(self.folder / "good.crt", self.folder / "good.key"), self.folder / "good.key")
        another.write(self.folder / "another.crt", self.folder / "another.key")
        half = len(key.read_bytes()) // 2
        data = (self.volume / "..data").resolve()
        for cert_content, key_content in (
            (b"nonsense", key.read_bytes()),
            (certificate.read_bytes(), b""),
            (certificate.read_bytes(), key.read_bytes()[:half]),
            (certificate.read_bytes()[:300], key.read_bytes()),
            (certificate.read_bytes(), (self.folder / "another.key").read_bytes()),
        ):
            refused, seen = self.reloads(LISTENER, "refused"), len(self.gateway.log)
            replace(data / "tls.crt", cert_content)
            replace(data / "tls.key", key_content)
            self.gateway.hang_up()
            line = self.gateway.logged(f"{LISTENER}: the old one stays in force: HTTP_", seen)
            self.assertEqual(line["level"], "error")
            self.assertNotIn("\n", line["message"])
            self.assertEqual(self.shown(), first)
            self.assertEqual(self.reloads(LISTENER, "refused"), refused + 1)
            self.assertEqual(len([each for each in self.gateway.log[seen:] if "old one" in each["message"]]), 1)
        seen = len(self.gateway.log)
        for _ in range(2):
            replace(self.folder / "access.yaml", (self.folder / "access.yaml").read_bytes() + b"\n")
            self.reload(ACCESS)
        self.assertEqual([each for each in self.gateway.log[seen:] if "old one" in each["message"]], [])  # logged once
        self.assertEqual(kept.ask(post(b"2")).status, 200)
        good.write(data / "tls.crt", data / "tls.key")
        self.reload()
        self.assert_shown(good)

    def test_missing(self) -> None:
        """A missing file is refused like a broken one; when it is back, it is loaded."""
        first = self.shown()
        (self.volume / "..data").rename(self.volume / "..away")
        self.gateway.hang_up()
        self.gateway.logged(f"{LISTENER}: the old one stays in force: HTTP_CERT", self.log_begin)
        self.assertEqual(self.shown(), first)
        new = self.server_holder()
        self.new_volume(self.volume, new)
        self.gateway.logged(f"{LISTENER}: loaded again", self.log_begin)
        self.assert_shown(new)


class RotationTests(ReloadTestCase):
    """Reloads under load."""

    RATE, ENOUGH = 50, 50

    def setUp(self) -> None:
        super().setUp()
        self.failures: list[object] = []
        self.stop = threading.Event()
        self.tls = self.tls_of(self.client)

    def calls(self, ask: Callable[[], Response], enough: threading.Event) -> None:
        """Make half of the requests, until the test ends or one fails."""
        done = 0
        while not self.stop.wait(2 / self.RATE):
            try:
                response = ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, a request has failed
                self.failures.append(error)
                break
            done += 1
            if response.status != 200:
                self.failures.append(response)
            if done == self.ENOUGH:
                enough.set()
        enough.set()

    def on_a_fresh_connection(self) -> Response:
        """Make one request on a new connection."""
        with Connection(self.gateway.port("https"), self.tls) as connection:
            return connection.ask(post(b"1"))

    def test_rotation(self) -> None:
        """50 requests per second over new and open connections during two reloads: no request fails."""
        kept = self.connect(self.tls)
        ways = (self.on_a_fresh_connection, lambda: kept.ask(post(b"1")))
        both = [(ask, threading.Event()) for ask in ways]
        callers = [threading.Thread(target=self.calls, args=each) for each in both]
        for each in callers:
            each.start()
        try:
            for _ in range(2):
                new, seen = self.server_holder(), len(self.gateway.log)
                self.new_volume(self.volume, new)
                self.gateway.logged(f"{LISTENER}: loaded again", seen)
                self.assert_shown(new)
            for _, enough in both:
                self.assertTrue(enough.wait(PATIENCE))
        finally:
            self.stop.set()
            for each in callers:
                each.join()
        self.assertEqual(self.failures, [])
