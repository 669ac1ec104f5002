"""The identity in a certificate, and the names that a pattern of the access file matches."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.security.identity import Identity, identity_matches

EXPIRES = datetime(2099, 12, 31, 23, 59, 58, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    common_names: tuple[str, ...],
    alternatives: x509.ExtensionType | None,
    of_issuer: tuple[x509.GeneralName, ...] = (),
) -> x509.Certificate:
    """A certificate with these names."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    builder = (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(EXPIRES)
    )
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    if of_issuer:
        builder = builder.add_extension(x509.IssuerAlternativeName(of_issuer), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def unreadable(der: bytes) -> x509.UnrecognizedExtension:
    """A subject alternative name that consists of these bytes."""
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)


class IdentityTests(SynchronousTestCase):
    """The names and the expiry of a certificate."""

    def test_names(self) -> None:
        """The common name comes first, then DNS names in lower case, then URIs as they are; nothing else counts."""
        uri, dns = x509.UniformResourceIdentifier("spiffe://Cluster/Batch"), x509.DNSName("A.Example.ORG")
        others = (x509.IPAddress(ip_address("127.0.0.1")), x509.RFC822Name("a@b"), x509.DirectoryName(x509.Name([])))
        for common_names, alternatives, expected in (
            (("Initiator",), None, ("Initiator",)),
            (("cn",), (uri, dns), ("cn", "a.example.org", "spiffe://Cluster/Batch")),
            ((), (uri, dns), ("a.example.org", "spiffe://Cluster/Batch")),
            (("cn",), (dns, x509.DNSName("*.b")), ("cn", "a.example.org", "*.b")),
            (("one", "two"), None, ("one", "two")),
            (("cn",), others, ("cn",)),
            ((), others, ()),
            ((), None, ()),
        ):
            extension = None if alternatives is None else x509.SubjectAlternativeName(alternatives)
            self.assertEqual(expected, Identity.of(certificate(common_names, extension)).names)

    def test_unreadable_alternatives(self) -> None:
        """A malformed subject alternative name gives no names; the common name still counts."""
        for der in (b"", b"nonsense", b"\x30\x05\x82\x03\xff\xfe\xfd", b"\x30\x05\x87\x03abc"):
            self.assertEqual(("cn",), Identity.of(certificate(("cn",), unreadable(der))).names, repr(der))

    def test_alternatives_of_rare_kinds(self) -> None:
        """With X.400 and EDI names, which the library cannot read, the common name still counts."""
        for der in (b"\x30\x04\xa3\x02\x30\x00", b"\x30\x04\xa5\x02\x30\x00"):
            self.assertEqual(("cn",), Identity.of(certificate(("cn",), unreadable(der))).names, repr(der))

    def test_unreadable_subject(self) -> None:
        """A common name that is not text gives no name; the other names still count."""
        alternatives = x509.SubjectAlternativeName([x509.DNSName("a.org")])
        der = certificate(("broken",), alternatives).public_bytes(Encoding.DER).replace(b"broken", b"br\xff\xfeen")
        self.assertEqual(("a.org",), Identity.of(x509.load_der_x509_certificate(der)).names)

    def test_alternatives_that_stand_twice(self) -> None:
        """With two extensions of alternative names, neither counts: it is unknown which one the CA has checked."""
        made = certificate(("cn",), x509.SubjectAlternativeName([x509.DNSName("a.org")]), (x509.DNSName("b.org"),))
        der = made.public_bytes(Encoding.DER).replace(b"\x55\x1d\x12", b"\x55\x1d\x11")
        self.assertEqual(("cn",), Identity.of(x509.load_der_x509_certificate(der)).names)

    def test_end(self) -> None:
        """The identity expires with the certificate."""
        self.assertEqual(EXPIRES.timestamp(), Identity.of(certificate((), None)).expires)

    def test_text(self) -> None:
        """The text of an identity is its first name, or says that there is none."""
        self.assertEqual("a", str(Identity(("a", "b"), 0)))
        self.assertEqual("(a certificate without a name)", str(Identity((), 0)))


class PatternTests(SynchronousTestCase):
    """Patterns of names."""

    def test_patterns(self) -> None:
        """A name matches itself, ``*.example.org`` all names below, ``*`` all names."""
        for pattern, names, others in (
            ("a.org", ("a.org",), ("b.a.org", "A.org", "a.org.", "", "aXorg")),
            ("*", ("", "a", "a.b"), ()),
            ("*.a.org", ("b.a.org", "c.b.a.org"), ("a.org", ".a.org", "evila.org", "b.a.org.", "b.A.org", "*.a.orgs")),
            ("spiffe://a/b", ("spiffe://a/b",), ("spiffe://a/b/c", "spiffe://a")),
        ):
            for name in names:
                self.assertTrue(identity_matches(pattern, name), f"{pattern} means {name!r}")
            for name in others:
                self.assertFalse(identity_matches(pattern, name), f"{pattern} does not mean {name!r}")
