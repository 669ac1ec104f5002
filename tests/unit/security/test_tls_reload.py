"""Replaced certificates, CAs and revocation lists: new connections use them, open ones are checked again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError
from provider_gateway.security.tls import ClientTLS, broker_tls, model_tls
from tests.support.certificates import HOUR, SERVER, authority, local_names, pem
from tests.support.tls_peers import Link, PKITestCase, common_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.security.server_tls import ServerTLS
    from tests.support.certificates import Holder

GARBAGE = b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"


class ReplacementTests(PKITestCase):
    """The HTTPS listener's files."""

    def test_certificate(self) -> None:
        """Handshakes present the new certificate after the load, not before; open connections go on."""
        server, caller = self.server(), self.client(self.client_ca.issue("caller"))
        first = Link(server, caller)
        new = self.show("new server")
        second = Link(server, caller)
        server.load()
        third = Link(server, caller)
        self.assertEqual(["server", "server", "new server"], [each.shown for each in (first, second, third)])
        first.send(b" again")
        self.assertEqual(b"hello again", first.server.received)
        self.assertEqual(("server", new.certificate.not_valid_after_utc.timestamp()), self.told[-1])

    def test_ca(self) -> None:
        """Handshakes after the load accept clients of the new CAs only."""
        server, other = self.server(), authority("other CA")
        old, new = self.client_ca.issue("old"), other.issue("new")
        self.assertEqual((True, False), (self.lets_in(server, old), self.lets_in(server, new)))
        self.trust(other)
        server.load()
        self.assertEqual((False, True), (self.lets_in(server, old), self.lets_in(server, new)))

    def test_revocation_list(self) -> None:
        """Handshakes after the load use the new revocation list."""
        server = self.server(self.client_ca.revocation_list())
        caller = self.client_ca.issue("caller")
        self.assertTrue(self.lets_in(server, caller))
        self.crl.write_bytes(self.client_ca.revocation_list(caller))
        server.load()
        self.assertFalse(self.lets_in(server, caller))

    def test_first_end_of_the_lists(self) -> None:
        """At each load ``on_expiry`` is called with the time at which the first of the lists expires."""
        first = self.client_ca.revocation_list(ends=timedelta(minutes=5))
        second = self.intermediate.revocation_list(ends=timedelta(minutes=9))
        ends = {}
        for lists in ((first, second), (second, first), (second,)):
            self.told.clear()
            self.server(*lists)
            ends[lists] = dict(self.told)["crl"]
        self.assertEqual(ends[first, second], ends[second, first])
        self.assertAlmostEqual(240, ends[(second,)] - ends[first, second], delta=2)

    def test_broken_replacement(self) -> None:
        """If any file is wrong, nothing changes: our certificate, the accepted clients, the reported expiries."""
        lists = self.client_ca.revocation_list()
        server, caller = self.server(lists), self.client_ca.issue("caller")
        told = list(self.told)
        files = {path: path.read_bytes() for path in (self.cert, self.key, self.ca, self.crl)}
        other, strangers = self.server_ca.issue("other", purpose=SERVER, names=local_names()), authority("strangers")
        good = {self.ca: pem(strangers.certificate), self.crl: self.client_ca.revocation_list(caller)}
        other_files = {self.cert: self.folder / "other-cert", self.key: self.folder / "other-key"}
        other.write(*other_files.values())
        good |= {path: source.read_bytes() for path, source in other_files.items()}
        for wrong, old in files.items():
            # An old certificate does not fit a new key, nor the other way round.
            for content in (GARBAGE, b"", None, old if wrong in (self.cert, self.key) else GARBAGE):
                for path in files:
                    path.write_bytes(good[path])
                if content is None:
                    wrong.unlink()
                else:
                    wrong.write_bytes(content)
                self.assertRaises(SettingsError, server.load)
                link = Link(server, self.client(caller))
                self.assertEqual(("server", True), (link.shown, link.is_open))
                self.assertEqual(told, self.told)

    def test_files(self) -> None:
        """The side lists its files, the revocation list only if there is one."""
        self.assertEqual([self.cert, self.key, self.ca], self.server().files)
        self.assertEqual([self.cert, self.key, self.ca, self.crl], self.server(self.client_ca.revocation_list()).files)


class StillTrustsTests(PKITestCase):
    """After a load, clients of open connections are checked again."""

    def assert_trust(
        self, caller: Holder, change: Callable[[], object], expected: bool, lists: tuple[bytes, ...] = ()
    ) -> None:
        server = self.server(*lists)
        link = Link(server, self.client(caller))
        self.assertTrue(link.is_open)
        self.assertTrue(server.still_trusts(link.transport), "before any change")
        change()
        self.assertTrue(server.still_trusts(link.transport), "before it is loaded")
        server.load()
        for _ in range(2):
            self.assertEqual(expected, server.still_trusts(link.transport))

    def clients(self) -> tuple[Holder, Holder]:
        """Two clients: one presents its certificate alone, the other a chain."""
        return self.client_ca.issue("alone"), self.intermediate.issue("chained")

    def test_nothing_changed_for_it(self) -> None:
        """A client stays trusted if its CA stays, with other CAs beside it or our own certificate replaced."""
        for caller in self.clients():
            for change in (
                lambda: None,
                lambda: self.show("new"),
                lambda: self.trust(authority("other CA"), self.client_ca),
            ):
                self.trust(self.client_ca)
                self.assert_trust(caller, change, True)

    def test_other_ca(self) -> None:
        """A client is no longer trusted once its CA is not."""
        for caller in self.clients():
            self.trust(self.client_ca)
            self.assert_trust(caller, lambda: self.trust(authority("other CA")), False)

    def test_revoked(self) -> None:
        """A client is no longer trusted once its certificate, or its CA's, is on a list; others stay trusted."""
        alone, chained = self.clients()
        other = self.intermediate.issue("other")
        root, below = self.client_ca.revocation_list, self.intermediate.revocation_list
        for caller, lists, expected in (
            (alone, (root(alone), below()), False),
            (chained, (root(), below(chained)), False),
            (chained, (root(self.intermediate), below()), False),
            (alone, (root(self.intermediate), below(chained)), True),
            (other, (root(alone), below(chained)), True),
            (chained, (root(),), False),
        ):
            self.assert_trust(
                caller,
                lambda lists=lists: self.crl.write_bytes(b"".join(lists)),  # type: ignore[misc]
                expected,
                (root(), below()),
            )

    def test_trusted_again(self) -> None:
        """A client that a load made untrusted is trusted again if the next load restores its CA."""
        server = self.server()
        link = Link(server, self.client(self.client_ca.issue("alone")))
        for authorities, expected in ((authority("other CA"), False), (self.client_ca, True)):
            self.trust(authorities)
            server.load()
            self.assertEqual(expected, server.still_trusts(link.transport))

    def test_broken_replacement(self) -> None:
        """A load that fails changes no client's trust."""
        server = self.server()
        link = Link(server, self.client(self.client_ca.issue("alone")))
        self.ca.write_bytes(GARBAGE)
        self.assertRaises(SettingsError, server.load)
        self.assertTrue(server.still_trusts(link.transport))


#: Of each side: its name, what makes it, and the settings of its CA, certificate and key.
BROKER = ("broker", broker_tls, ("mq_cacert", "mq_cert", "mq_key"))
MODEL = ("model", model_tls, ("model_cacert", "model_cert", "model_key"))


class ClientTests(PKITestCase):
    """The sides of the broker and of the model."""

    def setUp(self) -> None:
        super().setUp()
        self.files = {name: self.folder / name for _, _, names in (BROKER, MODEL) for name in names}

    def sides(self) -> list[tuple[str, ClientTLS, tuple[str, str, str]]]:
        """Both, each with its name and the names of its settings; CA and certificate are the same."""
        for _, _, names in (BROKER, MODEL):
            self.replace(names, self.server_ca, self.client_ca.issue("old"))
        settings = self.settings(**self.files)
        return [
            (side, make(settings, lambda *told: self.told.append(told)), names) for side, make, names in (BROKER, MODEL)
        ]

    def replace(self, names: tuple[str, str, str], trusted: Holder, holder: Holder) -> None:
        """Replace the files of one side."""
        cacert, cert, key = names
        self.files[cacert].write_bytes(pem(trusted.certificate))
        holder.write(self.files[cert], self.files[key])

    def presented(self, server: ServerTLS, side: ClientTLS) -> str | None:
        """The common name of the certificate that a new connection presents; None if there is none."""
        link = Link(server, side.to("localhost"))
        return common_name(link.transport.getPeerCertificate()) if link.is_open else None

    def test_replacement(self) -> None:
        """New connections trust the new CA and present the new certificate, and its expiry is told."""
        server = self.server()
        for side, tls, names in self.sides():
            self.assertEqual("old", self.presented(server, tls))
            new = self.client_ca.issue("new", ends=2 * HOUR)
            self.replace(names, self.server_ca, new)
            self.assertEqual("old", self.presented(server, tls))
            tls.load()
            self.assertEqual("new", self.presented(server, tls))
            self.assertEqual((side, new.certificate.not_valid_after_utc.timestamp()), self.told[-1])
            self.replace(names, self.client_ca, new)
            tls.load()
            self.assertIsNone(self.presented(server, tls), "the server's CA is trusted no more")

    def test_broken_replacement(self) -> None:
        """If any file is wrong, its variable is named, and nothing changes."""
        server = self.server()
        for _, tls, names in self.sides():
            told = list(self.told)
            for name in names:
                self.replace(names, self.client_ca, self.client_ca.issue("new"))
                self.files[name].write_bytes(GARBAGE)
                line = str(self.assertRaises(SettingsError, tls.load))
                self.assertTrue(line.startswith(f"{name.upper()}: "), line)
                self.assertEqual("old", self.presented(server, tls))
            self.assertEqual(told, self.told)

    def test_what_is_loaded(self) -> None:
        """Each side has a name for logs, and lists the files that it was read from."""
        for side, tls, names in self.sides():
            self.assertEqual([self.files[name] for name in names], tls.files)
            self.assertEqual(f"TLS towards the {side}", tls.name)
