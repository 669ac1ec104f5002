"""The URL of the model: which texts are one, in which form, and parts that are put together."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.model_url import model_url, parse_model_path, parse_model_url, parse_ready_url, ready_url
from provider_gateway.config.queue_file import parse_queues
from tests.unit.config.base import SettingsTestCase

#: Other files' line ends and blanks.
AROUND = (" {} ", "{}\n", "{}\r\n", "\t{}")


class ParseTests(SynchronousTestCase):
    """Whole URLs, and paths."""

    def test_parse(self) -> None:
        """URLs are http or https with a host, paths begin with a slash; errors do not quote the text."""
        for parse, good, bad in (
            (
                parse_model_url,
                ("http://m", "https://m:1/", "http://m/p?q=1@2", "https://m?q", "http://[::1]:5/p", "http://ml_model/",
                 "http://10.0.0.7", "http://m./", "http://m/p%zz", "http://m/f\u00fcr"),
                ("", "m", "ftp://m", "http://", "http:///p", "http://u:hunter2@m/", "http://u@m", "http://m/#f", "//m",
                 "x http://m", "http://m/a b", "http://m\n/hunter2", "http://m:0/", "http://m:65536", "http://::1/",
                 "http://a..b/", "http://m:80:81/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://m hunter2/",
                 "http://m/\0", "http://m/\ud800", "http://http://m/", "http://010.0.0.1/"),
            ),
            (
                parse_ready_url,
                ("http://m", "https://m:1/ready?key=1", "http://[::1]:5/p", "/", "/v2/health/ready", "/p?key=1", "//p"),
                ("", " ", "m", "m/ready", "ready", "?hunter2", "ftp://m", "http://", "http://u:hunter2@m/", "/a b",
                 "/p#f", "http://m/#f", "http://m:0/", "http://a..b/", "/hunter2\n/", "http://m hunter2/", "/\ud800",
                 "http://[fe80::1%25eth0]/", "/\x01", "://m", "x /p"),
            ),
            (
                parse_model_path,
                ("/", "/p", "/p?key=1", "//p"),
                ("", "p", "?hunter2", "/a b", "/p#f", "/hunter2\n/", "http://m/", "/\x01", "/\ud800"),
            ),
        ):  # fmt: skip
            for text in good:
                for around in ("{}", *AROUND):
                    self.assertEqual(text, parse(around.format(text)).reveal())
            for text in bad:
                error = self.assertRaises(ValueError, parse, text)
                self.assertNotIn("hunter2", str(error), repr(text))

    def test_form(self) -> None:
        """The host is in its usual form; an empty port is the scheme's."""
        for text, expected in (
            ("HTTP://M_L:/", "http://m_l/"),
            ("https://M\u00fcnchen.example:1?q", "https://xn--mnchen-3ya.example:1?q"),
            ("http://127.1:8080/p", "http://127.0.0.1:8080/p"),
            ("http://[0::1]", "http://[::1]"),
        ):
            self.assertEqual(expected, parse_model_url(text).reveal())

    def test_parts(self) -> None:
        """An IPv6 address is bracketed when it is put together with a port."""
        path = parse_model_path("/p?q")
        self.assertEqual("http://[::1]:8080/p?q", model_url("::1", 8080, path).reveal())
        self.assertEqual("http://webapp:1/p?q", model_url(None, 1, path).reveal())

    def test_ready_url(self) -> None:
        """A path is one on the model's host, by the model's scheme; path and query of the model's URL do not matter."""
        for given, model, expected in (
            ("/ready?a=1", "https://m:1/predict?key=2", "https://m:1/ready?a=1"),
            ("/v2/health/ready", "http://[::1]:8080/a/b", "http://[::1]:8080/v2/health/ready"),
            ("/ready", "http://m?key=1/2", "http://m/ready"),
            ("/ready", "http://m", "http://m/ready"),
            ("//other/ready", "http://m/", "http://m//other/ready"),
            ("https://other:2/ready", "http://m/predict", "https://other:2/ready"),
        ):
            found = ready_url(parse_ready_url(given), parse_model_url(model))
            self.assertEqual(expected, found.reveal())


class ReadyTests(SettingsTestCase):
    """MODEL_READY_URL, and the key readyUrl of entries."""

    def test_effective(self) -> None:
        """The entry's readyUrl wins over MODEL_READY_URL; without both there is none."""
        plain, own = parse_queues(
            "[{topic: '', queueName: a}, {topic: '', queueName: b, readyUrl: 'https://other/b'}]", "queues.yaml"
        )
        for variables, expected in (
            ({}, (None, "https://other/b")),
            ({"MODEL_READY_URL": ""}, (None, "https://other/b")),
            ({"MODEL_READY_URL": "/ready\n"}, ("http://webapp:8080/ready", "https://other/b")),
            (
                {"MODEL_READY_URL": "/r", "MODEL_HOST": "::1", "MODEL_PORT": "1"},
                ("http://[::1]:1/r", "https://other/b"),
            ),
            ({"MODEL_READY_URL": "/r", "MODEL_URL": "https://m/p?k=1"}, ("https://m/r", "https://other/b")),
            ({"MODEL_READY_URL": "HTTP://R:5"}, ("http://r:5", "https://other/b")),
        ):
            settings = self.load(**variables)
            found = [settings.effective_ready_url(entry) for entry in (plain, own)]
            self.assertEqual(expected, tuple(each.reveal() if each else None for each in found), variables)

    def test_refused(self) -> None:
        """A mistake is one line that names the variable and does not quote what may be a password."""
        for value, part in (
            ("ready", "http://… or https://…, or a path on the model's host that begins with /"),
            ("http://u:hunter2@m/", "without user, password"),
            ("/hunter2 x", "without fragment and spaces"),
            ("http://m:99999/hunter2", "a port from 1 to 65535"),
        ):
            line = self.refusal(MODEL_READY_URL=value)
            self.assertTrue(line.startswith("MODEL_READY_URL: expected "), line)
            self.assertIn(part, line, value)
            self.assertNotIn("hunter2", line)


class PartsTests(SettingsTestCase):
    """MODEL_HOST, MODEL_PORT and MODEL_PATH."""

    def url(self, **variables: str) -> str:
        return self.load(**variables).effective_model_url.reveal()

    def test_host(self) -> None:
        """MODEL_HOST is a name or an address, with or without brackets; a file's line end is ignored."""
        for host, expected in (
            ("ml_model", "ml_model"),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("fd00::a\n", "[fd00::a]"),
            (" model ", "model"),
            ("", "webapp"),
            ("127.1", "127.0.0.1"),
        ):
            self.assertEqual(f"http://{expected}:8080/predict", self.url(MODEL_HOST=host), host)
        self.assertEqual("http://[::1]:81/q", self.url(MODEL_HOST="::1", MODEL_PORT="81\n", MODEL_PATH="/q\n"))

    def test_refused(self) -> None:
        """A wrong part is one line that names its variable and does not quote what may be a password."""
        for variable, value, part in (
            ("MODEL_HOST", "http://hunter2", "without scheme and path; a whole URL goes into MODEL_URL"),
            ("MODEL_HOST", "https://[::1]:8080/hunter2", "a whole URL goes into MODEL_URL"),
            ("MODEL_HOST", "m/hunter2", "without scheme and path"),
            ("MODEL_HOST", "m:80", "without a port"),
            ("MODEL_HOST", "u:hunter2@m", "without user and password"),
            ("MODEL_HOST", "a b", "letters"),
            ("MODEL_HOST", " ", "letters"),
            ("MODEL_HOST", "a,b", "letters"),
            ("MODEL_HOST", "fe80::1%eth0", "without a zone"),
            ("MODEL_HOST", "[::1]:80", "an IPv6 address"),
            ("MODEL_HOST", "a?b", "letters"),
            ("MODEL_HOST", "a#b", "letters"),
            ("MODEL_PORT", "http://10.0.0.1:80", "a valid integer"),
            ("MODEL_PORT", "tcp://10.0.0.1", "a valid integer"),
            ("MODEL_PORT", "0", "greater than or equal to 1"),
            ("MODEL_PORT", "65536", "less than or equal to 65535"),
            ("MODEL_PORT", "-1", "greater than or equal to 1"),
            ("MODEL_PORT", "80.5", "a valid integer"),
            ("MODEL_PORT", "\uff18\uff10x", "a valid integer"),
            ("MODEL_PATH", "http://m/hunter2", "begins with /"),
            ("MODEL_PATH", "predict", "begins with /"),
            ("MODEL_PATH", "/a b", "without fragment and spaces"),
            ("MODEL_URL", "http://m:0/", "a port from 1 to 65535"),
            ("MODEL_URL", "http://a..b/", "letters"),
        ):
            line = self.refusal(**{variable: value})
            self.assertTrue(line.startswith(f"{variable}: expected "), line)
            self.assertIn(part, line, f"{variable}={value}")

    def test_named(self) -> None:
        """MODEL_HOST_ENV names a variable of the environment or of the env file; the environment wins."""
        (self.folder / ".env").write_text("FIB_SERVICE_HOST=10.0.0.1\nOTHER=10.0.0.2\nEMPTY=\n", encoding="utf-8")
        for variables, expected in (
            ({"MODEL_HOST_ENV": "fib_service_host"}, "10.0.0.1"),
            ({"MODEL_HOST_ENV": "FIB_SERVICE_HOST\n"}, "10.0.0.1"),
            ({"MODEL_HOST_ENV": "fib_service_host", "FIB_SERVICE_HOST": "::1"}, "[::1]"),
            ({"MODEL_HOST_ENV": "fib_service_host", "FIB_SERVICE_HOST": ""}, "10.0.0.1"),
            ({"MODEL_HOST_ENV": "fib_service_host", "MODEL_HOST": "m"}, "m"),
            ({"MODEL_HOST_ENV": "empty"}, "webapp"),
            ({"MODEL_HOST_ENV": "not_there"}, "webapp"),
            ({"MODEL_HOST_ENV": "a\0b="}, "webapp"),
        ):
            self.assertEqual(f"http://{expected}:8080/predict", self.url(**variables), repr(variables))

    def test_named_in_the_same_file(self) -> None:
        """MODEL_HOST_ENV and the variable that it names may both stand in a named env file."""
        named = self.folder / "other.env"
        named.write_text("MODEL_HOST_ENV=fib_service_host\nFIB_SERVICE_HOST=fd00::7\n", encoding="utf-8")
        self.assertEqual("http://[fd00::7]:8080/predict", self.load(named).effective_model_url.reveal())

    def test_named_and_wrong(self) -> None:
        """If the named variable holds no host, the line names both variables; if it is not needed, it is not read."""
        wrong = {"MODEL_HOST_ENV": "fib_port", "FIB_PORT": "tcp://10.0.0.1:8080"}
        line = self.refusal(**wrong)
        self.assertTrue(line.startswith("FIB_PORT (named by MODEL_HOST_ENV): expected a host name or an address"), line)
        self.assertEqual("http://m/", self.url(**wrong, MODEL_URL="http://m/"))
        self.assertEqual("http://m:8080/predict", self.url(**wrong, MODEL_HOST="m"))


class ListenerTests(SettingsTestCase):
    """HTTP_ADDR and ADMIN_ADDR."""

    def test_addresses(self) -> None:
        """Listeners have an address of either family, with or without brackets and zone, or a name."""
        for text, expected in (
            ("::", "::"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("0.0.0.0\n", "0.0.0.0"),
            ("0", "0.0.0.0"),
            ("localhost", "localhost"),
        ):
            settings = self.load(HTTP_ADDR=text, ADMIN_ADDR=text)
            self.assertEqual([expected] * 2, [settings.http_addr, settings.admin_addr])
        self.assertEqual("::1", self.load(GIN_ADDR="[::1]").http_addr)

    def test_refused(self) -> None:
        """Anything else is one line with the variable's name as the user wrote it."""
        for name in ("HTTP_ADDR", "GIN_ADDR", "ADMIN_ADDR"):
            for text in ("127.0.0.1:80", "http://x", "[::1]:80", "a b", "300.1.1.1", ":5050", "*"):
                self.assertTrue(self.refusal(**{name: text}).startswith(f"{name}: expected "), text)
