"""The example certificates and their script: files, modes, names and purposes."""

from __future__ import annotations

import os
import runpy
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.demo.certificates import certificates, make_certificates

SCRIPT = Path(__file__).parents[3] / "certs-example" / "make_certs.py"

#: Of each pair: certificate, key, common name, True for a server.
PAIRS = (
    ("server_cert.pem", "server_key.pem", "provider-gateway", True),
    ("broker_cert.pem", "broker_key.pem", "rabbitmq", True),
    ("model_cert.pem", "model_key.pem", "model", True),
    ("client_cert.pem", "client_key.pem", "initiator", False),
    ("client_cert_mq.pem", "client_key_mq.pem", "provider-gateway", False),
)


class MakeCertificatesTests(SynchronousTestCase):
    """A folder of certificates, made for each test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "below"
        before = os.umask(0)  # with no mask, the script alone decides the modes
        self.addCleanup(os.umask, before)
        make_certificates(self.folder, days=7, names=("gateway.example.org", "10.1.2.3"))
        self.authority = self.certificate("cacert.pem")

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / name).read_bytes())

    def test_files(self) -> None:
        """The folder is created, with the CA's certificate and all pairs, and without the CA's key."""
        expected = {"cacert.pem"} | {name for cert, key, *_ in PAIRS for name in (cert, key)}
        self.assertEqual(expected, {path.name for path in self.folder.iterdir()})

    def test_keys_are_for_their_owner_only(self) -> None:
        """Keys have mode 0600, certificates 0644."""
        for path in self.folder.iterdir():
            mode = 0o600 if "_key" in path.name else 0o644
            self.assertEqual(oct(mode), oct(path.stat().st_mode & 0o777), path.name)

    def test_strict(self) -> None:
        """Certificates pass OpenSSL's strict check, which Python's contexts make since 3.13."""
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
        store.add_cert(crypto.X509.from_cryptography(self.authority))
        for cert, *_ in PAIRS:
            certificate = crypto.X509.from_cryptography(self.certificate(cert))
            crypto.X509StoreContext(store, certificate).verify_certificate()

    def test_keys_belong_to_their_certificates(self) -> None:
        """Each key belongs to its certificate and needs no pass phrase; all keys differ."""
        seen = set()
        for cert, key, *_ in PAIRS:
            private = load_pem_private_key((self.folder / key).read_bytes(), password=None)
            self.assertEqual(self.certificate(cert).public_key(), private.public_key(), cert)
            seen.add((self.folder / key).read_bytes())
        self.assertEqual(len(PAIRS), len(seen))

    def test_signed_by_the_authority(self) -> None:
        """Each certificate is signed by the CA, whose own certificate allows it to sign certificates."""
        for cert, *_ in PAIRS:
            self.certificate(cert).verify_directly_issued_by(self.authority)
        self.assertTrue(self.authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        self.assertTrue(self.authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign)

    def test_purpose_and_name(self) -> None:
        """Server certificates are for servers only, client certificates for clients only; none can sign others."""
        for cert, _, common_name, server in PAIRS:
            found = self.certificate(cert)
            usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            expected = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
            self.assertEqual([expected], list(usage), cert)
            self.assertEqual(
                [common_name], [name.value for name in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)], cert
            )
            self.assertFalse(found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, cert)

    def test_names_of_servers(self) -> None:
        """A server's names are those of this machine, its common name, and the given ones, be they addresses."""
        for cert, _, common_name, server in PAIRS:
            extensions = self.certificate(cert).extensions
            if not server:
                self.assertRaises(
                    x509.ExtensionNotFound, extensions.get_extension_for_class, x509.SubjectAlternativeName
                )
                continue
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.assertEqual(
                {"localhost", common_name, "gateway.example.org"}, set(names.get_values_for_type(x509.DNSName)), cert
            )
            self.assertEqual(
                {"127.0.0.1", "::1", "10.1.2.3"}, {str(a) for a in names.get_values_for_type(x509.IPAddress)}, cert
            )

    def test_validity(self) -> None:
        """Certificates are valid for the given number of days."""
        for cert in ("cacert.pem", "server_cert.pem", "client_cert.pem"):
            found = self.certificate(cert)
            self.assertEqual(timedelta(days=7), found.not_valid_after_utc - found.not_valid_before_utc, cert)

    def test_made_again(self) -> None:
        """A second run in the same folder replaces all files, and the new ones fit together."""
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        make_certificates(self.folder)
        for path in self.folder.iterdir():
            self.assertNotEqual(before[path.name], path.read_bytes(), path.name)
        self.certificate("server_cert.pem").verify_directly_issued_by(self.certificate("cacert.pem"))


class CommandLineTests(SynchronousTestCase):
    """The script, run as a program."""

    def test_arguments(self) -> None:
        """Folder, days and further names come from the command line; the folder is printed."""
        folder, out = Path(self.mktemp()), StringIO()
        self.patch(sys, "argv", ["make_certs.py", str(folder), "--days", "2", "--name", "a.example", "--name", "b"])
        self.patch(sys, "stdout", out)
        runpy.run_path(str(SCRIPT), run_name="__main__")
        self.assertIn(str(folder), out.getvalue())
        found = x509.load_pem_x509_certificate((folder / "server_cert.pem").read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertTrue({"a.example", "b"} <= set(names.get_values_for_type(x509.DNSName)))
        self.assertEqual(timedelta(days=2), found.not_valid_after_utc - found.not_valid_before_utc)


class CallerTests(SynchronousTestCase):
    """``--caller``: one more certificate of a CA that is there."""

    def setUp(self) -> None:
        self.folder, self.out = Path(self.mktemp()), StringIO()
        self.patch(sys, "stdout", self.out)

    def make(self, *arguments: str) -> None:
        """Run the script."""
        self.patch(sys, "argv", ["make_certs.py", str(self.folder), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    def error(self, *arguments: str) -> str:
        """The line with which the script ends."""
        return str(self.assertRaises(SystemExit, self.make, *arguments).code)

    def test_caller(self) -> None:
        """The certificate is a client's, of the same CA, with its own name; the other files stay as they are."""
        self.make("--days", "2")
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self.make("--caller", "alice.b-c_d", "--days", "400")
        authority = x509.load_pem_x509_certificate(before["cacert.pem"])
        made = x509.load_pem_x509_certificate((self.folder / "alice.b-c_d_cert.pem").read_bytes())
        made.verify_directly_issued_by(authority)
        self.assertEqual(made.subject.rfc4514_string(), "CN=alice.b-c_d")
        usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.CLIENT_AUTH])
        self.assertEqual(made.not_valid_after_utc, authority.not_valid_after_utc)
        key = load_pem_private_key((self.folder / "alice.b-c_d_key.pem").read_bytes(), password=None)
        self.assertEqual(key.public_key(), made.public_key())
        self.assertEqual(before, {name: (self.folder / name).read_bytes() for name in before})

    def test_key_of_the_authority(self) -> None:
        """The CA's key is for its owner only, and is not among the files ``*.pem``."""
        self.make()
        (path,) = (path for path in self.folder.iterdir() if path.suffix != ".pem")
        self.assertEqual((path.name, oct(path.stat().st_mode & 0o777)), ("ca.key", "0o600"))

    def test_demo_keeps_no_key(self) -> None:
        """A CA that is made anew without its key leaves no key of an older one."""
        self.make()
        make_certificates(self.folder)
        self.assertFalse((self.folder / "ca.key").exists())
        self.assertIn("ca.key is not there: make the CA first", self.error("--caller", "alice"))

    def test_errors(self) -> None:
        """No CA, a name that would be another file's, a path, and a foreign key are one line each."""
        self.assertIn("is not there", self.error("--caller", "alice"))
        self.make()
        for name in ("client", "server", "../x", "", "a b", "é", "-x"):
            self.assertIn("expected another name", self.error(f"--caller={name}"), name)
        (self.folder / "ca.key").write_bytes((self.folder / "client_key.pem").read_bytes())
        self.assertIn("is not the key of cacert.pem", self.error("--caller", "alice"))
        (self.folder / "ca.key").write_text("nonsense")
        self.assertIn("--caller: ", self.error("--caller", "alice"))


class ReuseTests(SynchronousTestCase):
    """A folder of certificates is used again as long as it is valid and complete."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "certs"
        certificates(self.folder)

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def assert_made_anew(self) -> None:
        """Check that the next call makes all files anew, and that the call after it keeps them."""
        before = self.content()
        certificates(self.folder)
        after = self.content()
        self.assertEqual([name for name in after if before.get(name) == after[name]], [])
        self.assertEqual({oct((self.folder / name).stat().st_mode & 0o777) for name in after}, {"0o600", "0o644"})
        certificates(self.folder)
        self.assertEqual(self.content(), after)
        self.assertEqual([path.name for path in self.folder.parent.iterdir()], ["certs"])

    def test_kept(self) -> None:
        """Certificates that fit each other are kept, whatever the times of the files."""
        before = self.content()
        os.utime(self.folder / "cacert.pem", (0, 0))
        certificates(self.folder)
        self.assertEqual(self.content(), before)

    def test_incomplete(self) -> None:
        """If a file is missing, as after an interrupted run, all are made anew."""
        (self.folder / "client_key.pem").unlink()
        self.assert_made_anew()

    def test_garbage(self) -> None:
        """If a file is no key or certificate, all are made anew."""
        for name in ("broker_key.pem", "server_cert.pem", "cacert.pem"):
            (self.folder / name).write_text("garbage")
            self.assert_made_anew()

    def test_of_different_runs(self) -> None:
        """If a certificate or a key is from another run, all are made anew."""
        for name in ("cacert.pem", "model_key.pem"):
            other = Path(self.mktemp())
            make_certificates(other)
            (self.folder / name).write_bytes((other / name).read_bytes())
            self.assert_made_anew()

    def test_expired(self) -> None:
        """Certificates that expire within a day are made anew, and keys get mode 0600 again."""
        make_certificates(self.folder, days=1)
        (self.folder / "client_key.pem").chmod(0o666)
        self.assert_made_anew()
