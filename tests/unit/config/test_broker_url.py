"""Broker addresses: the RabbitMQ URI specification, errors, and passwords that are never shown."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.broker_url import parse_broker_url, parse_broker_urls


class ParseTests(SynchronousTestCase):
    """The parts of a parsed address."""

    def test_scheme_and_port(self) -> None:
        """``amqp`` is plain on 5672, ``amqps`` is TLS on 5671; a port in the address wins."""
        for text, expected in (
            ("amqp://rabbit", ("rabbit", 5672, False)),
            ("amqps://rabbit", ("rabbit", 5671, True)),
            ("amqp://rabbit:1", ("rabbit", 1, False)),
            ("amqps://rabbit:65535/", ("rabbit", 65535, True)),
            ("amqps://10.0.0.7:5671/", ("10.0.0.7", 5671, True)),
            ("amqp://[::1]:5673/", ("::1", 5673, False)),
            ("AMQPS://Rabbit/", ("rabbit", 5671, True)),
            ("amqp://rabbit_mq/", ("rabbit_mq", 5672, False)),
            ("amqp://rabbit:/", ("rabbit", 5672, False)),
            ("amqp://m\u00fcnchen.example", ("xn--mnchen-3ya.example", 5672, False)),
            ("amqp://127.1", ("127.0.0.1", 5672, False)),
        ):
            url = parse_broker_url(text)
            self.assertEqual(expected, (url.host, url.port, url.tls), text)

    def test_virtual_host(self) -> None:
        """No path, an empty path and ``%2F`` mean the default virtual host; other paths are percent-decoded."""
        for path, expected in (
            ("", "/"),
            ("/", "/"),
            ("/%2F", "/"),
            ("/%2f", "/"),
            ("/ml", "ml"),
            ("/ml%2Fprod", "ml/prod"),
            ("/%C3%A4", "ä"),
            ("/" + "%41" * 255, "A" * 255),
        ):
            self.assertEqual(expected, parse_broker_url(f"amqp://rabbit{path}").virtual_host, path)

    def test_login(self) -> None:
        """User and password are percent-decoded. The user may be missing, so that a certificate can be the login."""
        for login, user, password in (
            ("", None, ""),
            ("guest:guest@", "guest", "guest"),
            ("guest@", "guest", ""),
            ("us%40er:p%3A%2F%3F%23%40%25w@", "us@er", "p:/?#@%w"),
            ("user:p@ss@", "user", "p@ss"),
            ("user:p+w@", "user", "p+w"),
            ("user:p%C3%A4@", "user", "pä"),
            ("user:50%off@", "user", "50%off"),
            ("user:a:b@", "user", "a:b"),
            ("user:p w@", "user", "p w"),
            (":pw@", "", "pw"),
        ):
            url = parse_broker_url(f"amqps://{login}rabbit:5671/")
            self.assertEqual((user, password), (url.user, url.password.get_secret_value()), login)
            self.assertEqual("rabbit", url.host, login)

    def test_heartbeat(self) -> None:
        """The heartbeat is 30 s unless the address has another one."""
        for query, expected in (("", 30), ("?heartbeat=1", 1), ("?heartbeat=65535", 65535)):
            self.assertEqual(expected, parse_broker_url(f"amqp://rabbit/ml{query}").heartbeat, query)

    def test_several(self) -> None:
        """Addresses are separated by commas and keep their order; spaces and empty parts are ignored."""
        for text, expected in (
            ("amqp://a", ["a"]),
            ("amqp://b:1/,amqps://a", ["b", "a"]),
            (" amqp://a , amqp://b,\n,", ["a", "b"]),
            ("amqp://a/\r\n", ["a"]),
        ):
            self.assertEqual(expected, [url.host for url in parse_broker_urls(text)], text)


class RefusalTests(SynchronousTestCase):
    """Texts that are no addresses."""

    def test_what_was_expected(self) -> None:
        """Each error says what was expected and does not quote the address."""
        for text, expected in (
            ("http://user:hunter2@rabbit", "amqp://… or amqps://…"),
            ("user:hunter2@rabbit:5672", "amqp://… or amqps://…"),
            ("rabbit", "amqp://… or amqps://…"),
            ("", "amqp://… or amqps://…"),
            ("amqp://", "a host name"),
            ("amqp://user:hunter2@/ml", "a host name"),
            ("amqp://user:hunter2@rabbit:abc", "a port from 1 to 65535"),
            ("amqp://user:hunter2@rabbit:65536", "a port from 1 to 65535"),
            ("amqp://user:hunter2@rabbit:-1", "a port from 1 to 65535"),
            ("amqp://user:hunter2@rabbit:0", "a port from 1 to 65535"),
            ("amqp://user:hunter2@a..b", "parts of 1 to 63"),
            ("amqp://user:hunter2@a b", "parts of 1 to 63"),
            ("amqp://user:hunter2@" + "a" * 64, "parts of 1 to 63"),
            ("amqp://user:hunter2@[fe80::1%25eth0]/", "without a zone"),
            ("amqp://user:hunter2@::1/", "in brackets"),
            ("amqp://user:hunter2@rabbit\n.example/", "no line ends"),
            ("amqp://user:hunter2\n@rabbit/", "no line ends"),
            ("amqp://user:hunter2%FF@rabbit/", "as UTF-8"),
            ("amqp://user:hunter2%00@rabbit/", "without %00"),
            ("amqp://user:hunter2@rabbit/%FF", "as UTF-8"),
            ("amqp://user:hunter2@rabbit/" + "a" * 256, "at most 255 bytes"),
            ("amqp+ssl://user:hunter2@rabbit/", "amqp://… or amqps://…"),
            ("amqp://user:hunter2/x@rabbit", "percent-encode"),
            ("amqp://user:hunter2@[::1", "a host and a port"),
            ("amqp://user:hunter2@rabbit/?heartbeat=0", "heartbeat as seconds from 1 to 65535"),
            ("amqp://user:hunter2@rabbit/?heartbeat=65536", "heartbeat as seconds"),
            ("amqp://user:hunter2@rabbit/?heartbeat=-1", "heartbeat as seconds"),
            ("amqp://user:hunter2@rabbit/?heartbeat=soon", "heartbeat as seconds"),
            ("amqp://user:hunter2@rabbit/?frame_max=1&channel_max=2", "no parameter but heartbeat"),
        ):
            error = str(self.assertRaises(ValueError, parse_broker_url, text))
            self.assertIn(expected, error, f"for {text!r}")
            self.assertNotIn("hunter2", error, f"for {text!r}")
            self.assertNotIn("\n", error, f"for {text!r}")

    def test_none_at_all(self) -> None:
        """For a list without an address, the error has an example of one."""
        for text in ("", " , ,"):
            error = str(self.assertRaises(ValueError, parse_broker_urls, text))
            self.assertIn("at least one address", error, repr(text))

    def test_one_of_several(self) -> None:
        """One wrong address makes the list wrong; so does a comma in a password."""
        for text in ("amqp://a,http://user:hunter2@b", "amqp://user:p,hunter2@rabbit"):
            error = str(self.assertRaises(ValueError, parse_broker_urls, text))
            self.assertNotIn("hunter2", error, text)


class MaskTests(SynchronousTestCase):
    """The text of an address, for logs."""

    def test_text(self) -> None:
        """The text of an address is complete except for the password."""
        for text, expected in (
            ("amqp://rabbit", "amqp://rabbit:5672/"),
            ("amqps://user:hunter2@rabbit/ml?heartbeat=5", "amqps://user:***@rabbit:5671/ml"),
            ("amqps://user:hunter2@rabbit:1/%2F", "amqps://user:***@rabbit:1/"),
        ):
            self.assertEqual(expected, str(parse_broker_url(text)))

    def test_password_never_shows(self) -> None:
        """str, repr and formatting of an address, alone or in a tuple, do not contain the password."""
        url = parse_broker_url("amqps://user:hunter%32@rabbit:5671/ml")
        self.assertEqual("hunter2", url.password.get_secret_value())
        for shown in (str(url), repr(url), f"{url}", f"{url!r:>200}", str((url,)), str(url.password)):
            self.assertNotIn("hunter", shown)


class UnencodedPasswordTests(SynchronousTestCase):
    """A password whose special characters are not encoded is an error that shows no part of it."""

    def test_refused_without_a_word_of_it(self) -> None:
        """A slash, question mark or hash in the password is an error; no part of it is read as something else."""
        for text in ("amqp://u:1234/abc@h", "amqp://u:12#abc@h", "amqp://u:12?se=cret@h", "amqp://h:0/", "amqp://h/#x"):
            error = str(self.assertRaises(ValueError, parse_broker_url, text))
            self.assertIn("percent-encode", error, text)
            for part in ("1234", "abc", "cret"):
                self.assertNotIn(part, error)

    def test_parameters(self) -> None:
        """Unknown parameters are errors with and without a value; so is a heartbeat that is not ASCII digits."""
        for text in ("amqp://h/?foo", "amqp://h/?foo=1", "amqp://h/?heartbeat=", "amqp://h/?heartbeat=²"):
            self.assertRaises(ValueError, parse_broker_url, text)

    def test_ipv6(self) -> None:
        """The text of an IPv6 address has brackets."""
        self.assertEqual(str(parse_broker_url("amqp://[::1]:5/")), "amqp://[::1]:5/")
