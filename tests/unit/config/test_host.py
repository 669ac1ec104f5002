"""Hosts: which texts are one, in which form, and what errors say."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.host import Authority, bracketed, parse_authority, parse_host

LABEL = "a" * 63


class HostTests(SynchronousTestCase):
    """Hosts alone."""

    def test_names(self) -> None:
        """Names have letters, digits, hyphens and underscores wherever resolvers take them; case does not matter."""
        for text in (
            "rabbit_mq", "_x", "x_", "a-", "-a", "r3---sn.example", "ab--c", "1_0", "a.1", "0xg",
            "xn--mnchen-3ya.example", "xn--zz", "rabbitmq.", LABEL, ".".join([LABEL, LABEL, LABEL, LABEL[:61]]),
        ):  # fmt: skip
            self.assertEqual((text, text), (parse_host(text), parse_host(text.upper())))

    def test_other_scripts(self) -> None:
        """A name in another script has its form in ASCII (IDNA 2008), wherever its dots come from."""
        for text in ("m\u00fcnchen.example", "M\u00dcNCHEN.EXAMPLE", "m\u00fcnchen\u3002example"):
            self.assertEqual("xn--mnchen-3ya.example", parse_host(text))
        self.assertEqual("xn--mnchen-3ya.rabbit_mq", parse_host("m\u00fcnchen.rabbit_mq"))

    def test_addresses(self) -> None:
        """Addresses have one form: four decimal numbers, or IPv6 without brackets."""
        for text, expected in (
            ("10.0.0.7", "10.0.0.7"),
            ("127.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0x7F000001", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("0:0::0001", "::1"),
            ("2001:DB8::A", "2001:db8::a"),
            ("::", "::"),
        ):
            self.assertEqual(expected, parse_host(text), text)

    def test_zone(self) -> None:
        """An IPv6 address has a zone only where that is allowed."""
        self.assertEqual("fe80::1%Eth0", parse_host("fe80::1%Eth0", zone=True))
        for text in ("fe80::1%eth0", "fe80::1%25eth0", "[fe80::1%eth0]"):
            self.assertIn("without a zone", str(self.assertRaises(ValueError, parse_host, text)), text)

    def test_refused(self) -> None:
        """Other texts are errors that say what is expected, in one line, without the text."""
        for text, expected in (
            ("http://secret", "without scheme and path"),
            ("secret/p", "without scheme and path"),
            ("u:secret@x", "without user and password"),
            ("secret@x", "without user and password"),
            ("secret:80", "without a port"),
            ("secret:x:y", "an IPv6 address"),
            ("[secret]", "an IPv6 address"),
            ("[::1", "an IPv6 address"),
            ("[::1]:80", "an IPv6 address"),
            ("[10.0.0.7]", "an IPv6 address"),
            ("fe80::1%", "without a zone"),
            ("010.0.0.1", "an IPv4 address"),
            ("256.0.0.1", "an IPv4 address"),
            ("1.2.3.4.5", "an IPv4 address"),
            ("1.2.3.4.", "an IPv4 address"),
            ("1..2", "parts of 1 to 63"),
            ("99999999999", "an IPv4 address"),
            ("0x", "an IPv4 address"),
            ("", "parts of 1 to 63"),
            (".", "parts of 1 to 63"),
            (".secret", "parts of 1 to 63"),
            ("secret..x", "parts of 1 to 63"),
            (LABEL + "a", "parts of 1 to 63"),
            (".".join([LABEL] * 4), "253"),
            ("sec ret", "parts of 1 to 63"),
            ("secret\n", "parts of 1 to 63"),
            ("secret\0", "parts of 1 to 63"),
            ("secret%41", "parts of 1 to 63"),
            ("*.secret", "parts of 1 to 63"),
            ("secret,x", "parts of 1 to 63"),
            ("\U0001f407.secret", "parts of 1 to 63"),
            ("\u200b", "parts of 1 to 63"),
            ("\u2100", "parts of 1 to 63"),
            ("\ud800", "parts of 1 to 63"),
        ):
            error = str(self.assertRaises(ValueError, parse_host, text))
            self.assertIn(expected, error, repr(text))
            self.assertNotIn("secret", error)
            self.assertNotIn("\n", error)


class AuthorityTests(SynchronousTestCase):
    """User, host and port of a URL."""

    def test_parts(self) -> None:
        """Port and user may be missing, and a port may be empty; IPv6 addresses are in brackets."""
        for text, expected in (
            ("rabbit_mq", (None, "rabbit_mq", None)),
            ("Rabbit:", (None, "rabbit", None)),
            ("rabbit:00080", (None, "rabbit", 80)),
            ("u:p@[::1]:65535", ("u:p", "::1", 65535)),
            ("u:p@ss@rabbit", ("u:p@ss", "rabbit", None)),
            ("@rabbit", ("", "rabbit", None)),
        ):
            self.assertEqual(Authority(*expected), parse_authority(text), text)

    def test_refused(self) -> None:
        """A port is a number from 1 to 65535, in digits; an IPv6 address without brackets is an error."""
        for text in ("x:0", "x:65536", "x:000080", "x:+1", "x:-1", "x:1_0", "x:\u0661", "x:a", "::1", "::1:80",
                     "[::1]x", "[::1]:0", "x:1:2", "", ":80", "u@", "u@:80"):  # fmt: skip
            self.assertRaises(ValueError, parse_authority, text)

    def test_bracketed(self) -> None:
        """Before a port, an IPv6 address stands in brackets, and nothing else does."""
        self.assertEqual(
            ["[::1]", "10.0.0.7", "rabbit_mq"], [bracketed(each) for each in ("::1", "10.0.0.7", "rabbit_mq")]
        )
