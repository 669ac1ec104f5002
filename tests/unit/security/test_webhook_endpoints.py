"""The access file's webhooks: which endpoint a caller may name, and one clear line for each mistake."""

from __future__ import annotations

import base64
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.demo.certificates import make_certificates
from provider_gateway.errors import BadRequest, SettingsError
from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.identity import Identity

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class WebhooksTestCase(SynchronousTestCase):
    """Access files in a folder with the secret ``s``."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "access.yaml"
        self.write("s", SECRET)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, text: str) -> AccessRules:
        self.path.write_text(text, encoding="utf-8")
        return AccessRules(self.path, Clock())

    def with_endpoint(self, endpoint: str, name: str = "done") -> str:
        return f"- {{identities: [a], routingKeys: [k], webhooks: {{{name}: {endpoint}}}}}"


class EndpointsTests(WebhooksTestCase):
    """Which endpoint a caller may name."""

    RULES = """
- identities: [a, "*.clients.org"]
  routingKeys: [k]
  webhooks: {done: {url: "https://one.example/hook", secretFiles: [s]}}
- identities: ["*"]
  routingKeys: [other]
  webhooks:
    done: {url: "https://two.example/", secretFiles: [s]}
    audit: {url: "http://127.0.0.1:8080/x?key=hidden", secretFiles: [s, s2]}
"""

    def setUp(self) -> None:
        super().setUp()
        self.write("s2", "\n whsec_" + base64.b64encode(b"x" * 24).decode() + " \n")
        self.rules = self.load(self.RULES)

    def url(self, name: str, *identity: str) -> str:
        endpoint = self.rules.endpoint_now(self.rules.endpoint(Identity(identity, 0), name))
        assert endpoint is not None
        return str(endpoint.url)

    def test_first_rule(self) -> None:
        """The first rule counts that matches one of the identity's names and has the endpoint, whatever its keys."""
        self.assertEqual("https://one.example/hook", self.url("done", "a"))
        self.assertEqual("https://one.example/hook", self.url("done", "b", "x.clients.org"))
        self.assertEqual("https://two.example/", self.url("done", "b"))
        self.assertEqual("http://127.0.0.1:8080/x?***", self.url("audit", "a"))

    def test_unknown(self) -> None:
        """An unknown endpoint, also one of other identities, is an error that names it and the caller."""
        rules = self.load(self.with_endpoint('{url: "https://e/", secretFiles: [s]}'))
        for identity, name, who in (
            (Identity(("a",), 0), "nope", "'a'"),
            (Identity(("b", "c"), 0), "done", "'b'"),
            (Identity((), 0), "done", "'(a certificate without a name)'"),
            (None, "done", "a caller without a certificate"),
        ):
            error = self.assertRaises(BadRequest, rules.endpoint, identity, name)
            text = f"The header Webhook names {name!r}, and the access file registers no such endpoint for {who}."
            self.assertEqual((400, text), (error.status, error.detail))

    def test_removed(self) -> None:
        """An endpoint that a reload removes, or gives to others, is not found any more; a changed one is found."""
        webhook = self.rules.endpoint(Identity(("a",), 0), "done")
        self.assertEqual(b"x" * 24, self.secrets("audit a")[1])
        for text, found in (
            (self.with_endpoint('{url: "https://new/", secretFiles: [s]}'), "https://new/"),
            (self.with_endpoint('{url: "https://new/", secretFiles: [s]}', "other"), None),
            (self.with_endpoint('{url: "https://new/", secretFiles: [s]}').replace("[a]", "[b]"), None),
        ):
            self.path.write_text(text, encoding="utf-8")
            self.rules.load()
            endpoint = self.rules.endpoint_now(webhook)
            self.assertEqual(found, None if endpoint is None else str(endpoint.url))

    def secrets(self, webhook: str) -> tuple[bytes, ...]:
        endpoint = self.rules.endpoint_now(webhook)
        assert endpoint is not None
        return endpoint.secrets

    def test_junk(self) -> None:
        """Text that no record has finds nothing."""
        for junk in ("", " ", "done", "done ", " a", "done b a"):
            rules = self.load(self.with_endpoint('{url: "https://e/", secretFiles: [s]}'))
            self.assertIsNone(rules.endpoint_now(junk), junk)

    def test_secrets_are_shown_nowhere(self) -> None:
        """Neither secret nor query of a URL is in any text form."""
        endpoint = self.rules.endpoint_now("audit a")
        for shown in (repr(endpoint), str(endpoint), repr(self.rules), repr(self.rules.__dict__)):
            self.assertNotIn("hidden", shown)
            self.assertNotIn(repr(KEY), shown)
            self.assertNotIn(SECRET, shown)

    def test_files(self) -> None:
        """All named files are watched with the access file; those with relative paths lie beside it."""
        make_certificates(self.folder)
        absolute = self.write("s2", SECRET)
        rules = self.load(
            self.with_endpoint(f"{{url: 'https://e/', secretFiles: [s, {absolute}], cacert: cacert.pem}}")
        )
        self.assertEqual([self.path, self.folder / "s", absolute, self.folder / "cacert.pem"], rules.files)


class MistakesTests(WebhooksTestCase):
    """What is refused."""

    def refused(self, endpoint: str, name: str = "done") -> str:
        line = str(self.assertRaises(SettingsError, self.load, self.with_endpoint(endpoint, name)))
        prefix = f"HTTP_ACCESS: {self.path}: [0].webhooks"
        self.assertTrue(line.startswith(prefix), line)
        self.assertNotIn("\n", line)
        self.assertNotIn("more)", line)
        return line.removeprefix(prefix)

    def test_urls(self) -> None:
        """A URL is https, or http on a loopback address, without user and fragment; no error quotes it."""
        for url in (
            *(
                "http://example.org/",
                "http://10.0.0.1/hidden",
                "http://localhost.example.org/",
                "http://127.0.0.1.nip.io",
            ),
            *("https://u:hidden@e/", "https://e/#hidden", "https:///x", "https://", "//e/", "ftp://e/", "e", "", " "),
            *("https://e:0/", "https://e:70000/", "https://e/a b", "https://[::1/", "http://0.0.0.0/", "http://[::]/"),
            *("http://[fe80::1%lo]/", "https://e/hid\\nden", "file:///etc/passwd", "https://169.254.1/?x#y"),
        ):
            line = self.refused(f'{{url: "{url}", secretFiles: [s]}}')
            self.assertTrue(line.startswith(".done.url: expected "), f"{url!r} gives {line!r}")
            self.assertNotIn("hidden", line)
        for value in ("5", "true", "null", "[x]"):
            self.assertIn(".done.url: expected https://…", self.refused(f"{{url: {value}, secretFiles: [s]}}"))

    def test_fitting_urls(self) -> None:
        """Names in any script, addresses, ports and queries are URLs, also in capitals; http is for loopback."""
        for url in (
            *(
                "https://e",
                "HTTPS://E.example/x",
                "https://10.0.0.1:8443/",
                "https://[2001:db8::1]/",
                "https://bücher.de/",
            ),
            *("https://e/?a=b&c", "http://localhost/", "http://LOCALHOST:1/", "http://127.0.0.1/", "http://127.1/"),
            *("http://[::1]:80/x", "http://127.9.9.9/"),
        ):
            self.load(self.with_endpoint(f'{{url: "{url}", secretFiles: [s]}}'))

    def test_names(self) -> None:
        """Names fit into a header, and have no spaces."""
        endpoint = '{url: "https://e/", secretFiles: [s]}'
        for name in ("a b", "", "-a", ".a", "ä", "a/b", "a" * 65, "a,b", "a:b"):
            self.assertIn(f": {name!r}: expected a name of 1 to 64", self.refused(endpoint, f'"{name}"'))
        self.assertEqual("[1].'[key]': expected a valid string, found 1", self.refused(endpoint, "1"))
        for name in ("a", "A.b_c-9", "9", "a" * 64):
            self.load(self.with_endpoint(endpoint, f'"{name}"'))

    def test_secrets(self) -> None:
        """A secret is whsec_ and the base64 of 24 to 64 bytes, alone in its file; no error quotes the file."""
        self.write("bad", "")

        def encoded(size: int) -> str:
            return base64.b64encode(b"\xfb" * size).decode()

        for text in (
            *("", "whsec_", "hidden", encoded(32), f"whsec_{encoded(23)}", f"whsec_{encoded(65)}"),
            *(f"whsec_{encoded(32)}\nwhsec_{encoded(32)}", f"whsec_{encoded(32)[:-1]}", f"whsec_{encoded(32)}x", "ä"),
            *(
                f"WHSEC_{encoded(32)}",
                f"whsec_ {encoded(32)}",
                "whsec_" + encoded(32).replace("+", "-"),
                "whsk_" + encoded(32),
            ),
        ):
            path = self.write("bad", text)
            line = self.refused('{url: "https://e/", secretFiles: [s, bad]}')
            self.assertTrue(line.startswith(f".done.secretFiles[1]: {path}: expected one secret: whsec_ "), line)
            self.assertNotIn("hidden", line)
            self.assertNotIn(encoded(8)[:8], line)
        for size in (24, 25, 64):
            self.write("s", f"whsec_{encoded(size)}\n")
            self.load(self.with_endpoint('{url: "https://e/", secretFiles: [s]}'))

    def test_secret_in_place_of_its_file(self) -> None:
        """A secret in the access file itself is refused, and not repeated."""
        for value in (SECRET, f"[{SECRET}]", f"[s, ' {SECRET}']"):
            line = self.refused(f'{{url: "https://e/", secretFiles: {value}}}')
            self.assertEqual(
                ".done.secretFiles: expected a list of files, each with one secret; found a secret itself", line
            )
        self.assertEqual(
            ".done.secret: unknown key; docs/security.md lists the file's keys",
            self.refused(f'{{url: "https://e/", secretFiles: [s], secret: {SECRET}}}'),
        )

    def test_files(self) -> None:
        """Missing files, folders and wrong kinds of values are refused."""
        (self.folder / "folder").mkdir()
        for endpoint, expected in (
            ("{}", ".done.url: is required and missing (and 1"),
            ("5", ".done: expected a valid dictionary"),
            ("{url: 'https://e/'}", ".done.secretFiles: is required and missing"),
            ("{url: 'https://e/', secretFiles: []}", ".done.secretFiles: expected at least one entry"),
            ("{url: 'https://e/', secretFiles: s}", ".done.secretFiles: expected"),
            ("{url: 'https://e/', secretFiles: ['']}", ".done.secretFiles[0]: expected text that is not empty"),
            ("{url: 'https://e/', secretFiles: [5]}", ".done.secretFiles[0]: expected a valid string"),
            ("{url: 'https://e/', secretFiles: [gone]}", "/gone: expected a readable file with a secret, got: No such"),
            (
                "{url: 'https://e/', secretFiles: [folder]}",
                "/folder: expected a readable file with a secret, got: Is a",
            ),
            (
                "{url: 'https://e/', secretFiles: [s], cacert: gone}",
                ".done.cacert: " + str(self.folder / "gone: expected"),
            ),
            ("{url: 'https://e/', secretFiles: [s], cacert: s}", "/s: expected one or more PEM certificates"),
            ("{url: 'https://e/', secretFiles: [s], ca: s}", ".done.ca: unknown key"),
        ):
            line = str(self.assertRaises(SettingsError, self.load, self.with_endpoint(endpoint)))
            self.assertIn(expected, line)
            self.assertNotIn("\n", line)

    def test_refused_reload(self) -> None:
        """A wrong file leaves endpoints and rules as they were; the named files are watched all the same."""
        rules = self.load(self.with_endpoint('{url: "https://e/", secretFiles: [s]}'))
        self.path.write_text(self.with_endpoint('{url: "https://new/", secretFiles: [gone]}'), encoding="utf-8")
        self.assertRaises(SettingsError, rules.load)
        endpoint = rules.endpoint_now(rules.endpoint(Identity(("a",), 0), "done"))
        assert endpoint is not None
        self.assertEqual(("https://e/", (KEY,)), (str(endpoint.url), endpoint.secrets))
        self.assertIn(self.folder / "gone", rules.files)
