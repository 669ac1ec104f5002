"""CAs, revocation lists and access rules change while the listener runs, for open connections as well."""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING

from tests.security.client import get, post
from tests.security.model import echo
from tests.security.reloading import ACCESS, LISTENER, ReloadTestCase, replace
from tests.support.certificates import HOUR, pem

if TYPE_CHECKING:
    from tests.security.client import Connection
    from tests.security.model import Asked
    from tests.support.certificates import Holder

BROKEN_RULES = (b"[", b"", b"{}", b"[{identities: [client]}]", b"[{identities: [], routingKeys: [a]}]", b"\xff")


class TrustTests(ReloadTestCase):
    """The CA and the revocation lists."""

    def kept_of_each_kind(self, holder: Holder) -> list[Connection]:
        """Open connections of clients that send their certificate alone, and together with their CA's."""
        connections = [self.connect(self.tls_of(holder, is_trusting=each)) for each in (True, False)]
        for each in connections:
            self.assertEqual(each.ask(post(b"1")).status, 200)
        return connections

    def revoke(self, *holders: Holder, issuer: Holder | None = None) -> None:
        """Put certificates on a CA's revocation list, by default the root CA's."""
        lists = [self.other_root.revocation_list(), self.intermediate.revocation_list(*(holders if issuer else ()))]
        lists.append(self.root.revocation_list(*(() if issuer else holders)))
        replace(self.folder / "crl.pem", b"".join(lists))
        self.reload()

    def test_revoked(self) -> None:
        """A revoked client's next request on an open connection is 403 and its last; other clients go on."""
        revoked = self.root.issue("revoked")
        theirs, ours = self.kept_of_each_kind(revoked), self.kept_of_each_kind(self.client)
        self.revoke(revoked)
        for each in ours:
            self.assertEqual(each.ask(post(b"2")).status, 200)
        for each in theirs:
            self.assert_turned_away(each)
        with self.assertRaisesRegex(ssl.SSLError, "REVOKED"), self.connect(self.tls_of(revoked)) as connection:
            connection.response()
        self.assertEqual(self.recorded(status=403, identity="revoked")["path"], "/v1/predict")

    def test_revoked_by_an_intermediate_authority(self) -> None:
        """The same with certificates of an intermediate CA, whose certificate the clients send."""
        revoked, other = (self.intermediate.issue(name) for name in ("revoked below", "other below"))
        theirs, ours = self.kept_of_each_kind(revoked), self.kept_of_each_kind(other)
        self.revoke(revoked, issuer=self.intermediate)
        for each in ours:
            self.assertEqual(each.ask(post(b"2")).status, 200)
        for each in theirs:
            self.assert_turned_away(each)
        self.revoke(self.intermediate)
        for each in ours:
            self.assert_turned_away(each)

    def test_revoked_in_service(self) -> None:
        """A request in progress is answered although its client is revoked meanwhile."""
        go_on = threading.Event()

        def answer(asked: Asked) -> bytes:
            go_on.wait(10)
            return echo(asked)

        revoked = self.root.issue("revoked")
        theirs = self.kept(revoked)
        self.model.answer = answer
        asked = len(self.model.asked)
        theirs.send(post(b'"in work"'))
        self.model.wait_for(asked + 1)
        self.revoke(revoked)
        go_on.set()
        self.assertEqual(theirs.response().body, b'"in work"')
        self.assert_turned_away(theirs)

    def test_resumption_after_revocation(self) -> None:
        """A revoked client cannot resume an earlier TLS session."""
        revoked = self.root.issue("revoked")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.begin_anew()
            tls = self.tls_of(revoked, oldest=version, newest=version)
            with self.connect(tls) as connection:
                self.assertEqual(connection.ask(post(b"1")).status, 200)
                session = connection.socket.session
            self.revoke(revoked)
            with self.assertRaises(ssl.SSLError), self.connect(tls, session=session) as connection:
                connection.ask(get(b"/health"))

    def test_another_authority(self) -> None:
        """With a new CA beside the old one, clients of both are served; without the old one, its clients get 403."""
        newcomer = self.other_root.issue("newcomer")
        old = self.kept(self.client)
        replace(self.folder / "ca.pem", pem(self.root.certificate, self.other_root.certificate))
        self.reload()
        new = self.kept(newcomer)
        self.assertEqual(old.ask(post(b"2")).status, 200)
        replace(self.folder / "ca.pem", pem(self.other_root.certificate))
        self.reload()
        self.assertEqual(new.ask(post(b"3")).status, 200)
        self.assert_turned_away(old)

    def test_broken(self) -> None:
        """A broken or incomplete CA file or list is refused, and changes nothing."""
        revoked = self.root.issue("revoked")
        lists = self.root.revocation_list(revoked) + self.other_root.revocation_list()
        replace(self.folder / "crl.pem", lists)
        self.reload()
        authorities = pem(self.root.certificate, self.other_root.certificate)
        for name, whole in (("ca.pem", authorities), ("crl.pem", lists)):
            for content in (b"", b"nonsense", whole[:100], whole[:-100], whole.replace(b"-----END", b"-----AND", 1)):
                seen = len(self.gateway.log)
                replace(self.folder / name, content)
                self.gateway.hang_up()
                variable = {"ca.pem": "HTTP_CACERT", "crl.pem": "HTTP_CRL"}[name]
                self.gateway.logged(f"{LISTENER}: the old one stays in force: {variable}", seen)
                self.assertEqual(self.ask(post(b"1"), self.client).status, 200)
                with self.assertRaisesRegex(ssl.SSLError, "REVOKED"), self.connect(self.tls_of(revoked)) as connection:
                    connection.response()
            replace(self.folder / name, {"ca.pem": pem(self.root.certificate), "crl.pem": lists}[name])
            self.gateway.hang_up()

    def test_expiry(self) -> None:
        """A certificate that expires while its connection is open is refused like a revoked one."""
        short = self.root.issue("short", ends=HOUR / 1800)  # two seconds
        connection = self.kept(short)
        threading.Event().wait(2.1)
        self.assert_turned_away(connection)


class AccessTests(ReloadTestCase):
    """The access file."""

    def test_changed(self) -> None:
        """New rules apply to open connections at once; no signal is needed."""
        kept = self.kept(self.client)
        replace(self.folder / "access.yaml", b"[{identities: [client], routingKeys: [other.now]}]")
        self.gateway.logged(f"{ACCESS}: loaded again", self.log_begin)
        self.assert_problem(kept.ask(post(b"2")), 403, "forbidden")
        self.assertEqual(kept.ask(post(b"3", b"routing-key: other.now")).status, 200)

    def test_broken(self) -> None:
        """A broken access file is refused with one error line that names the place; the old rules stay in force."""
        kept, refused = self.kept(self.client), self.reloads(ACCESS, "refused")
        for number, content in enumerate(BROKEN_RULES):
            seen = len(self.gateway.log)
            replace(self.folder / "access.yaml", content)
            self.gateway.hang_up()
            line = self.gateway.logged(f"{ACCESS}: the old one stays in force: ", seen)
            self.assertEqual((line["level"], line["message"].count("\n")), ("error", 0))
            self.assertIn(str(self.folder / "access.yaml"), line["message"])
            self.assertEqual(kept.ask(post(b"2")).status, 200)
            self.assertEqual(self.reloads(ACCESS, "refused"), refused + number + 1)
