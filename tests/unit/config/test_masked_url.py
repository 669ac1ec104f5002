"""URLs that may hold a key: their query is never shown, and errors do not quote them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.masked_url import MaskedURL, parse_model_path, parse_model_url


class MaskedURLTests(SynchronousTestCase):
    """Text forms of a URL."""

    def test_shown(self) -> None:
        """No text form of a URL shows its query; ``reveal`` returns the whole URL."""
        for text, shown in (
            ("https://m/p?key=hunter2", "https://m/p?***"),
            ("/p?a=1?key=hunter2&b=\nhunter2", "/p?***"),
            ("http://m?hunter2", "http://m?***"),
            ("/p?", "/p?***"),
            ("http://m/p", "http://m/p"),
        ):
            url = MaskedURL(text)
            self.assertEqual((text, shown, f"MaskedURL({shown!r})"), (url.reveal(), str(url), repr(url)))
            self.assertEqual((shown, shown, f"[MaskedURL({shown!r})]"), (f"{url}", f"{url:}", str([url])))

    def test_equal(self) -> None:
        """Two URLs are equal only if their queries are equal, too."""
        self.assertEqual(MaskedURL("/p?a"), MaskedURL("/p?a"))
        self.assertNotEqual(MaskedURL("/p?a"), MaskedURL("/p?b"))

    def test_parse(self) -> None:
        """URLs are http or https with a host, paths begin with a slash; errors do not quote the text."""
        for parse, good, bad in (
            (
                parse_model_url,
                ("http://m", "https://m:1/", "http://m/p?q=1@2", "https://m?q", "http://[::1]:5/p"),
                ("", "m", "ftp://m", "http://", "http:///p", "http://u:hunter2@m/", "http://u@m", "http://m/#f", "//m",
                 "x http://m", "http://m/a b", "http://m/hunter2\n", "http://m\n"),
            ),
            (
                parse_model_path,
                ("/", "/p", "/p?key=1", "//p"),
                ("", "p", "?hunter2", "/a b", "/p#f", "/hunter2\n", "http://m/", " /p"),
            ),
        ):  # fmt: skip
            for text in good:
                self.assertEqual(text, parse(text).reveal())
            for text in bad:
                error = self.assertRaises(ValueError, parse, text)
                self.assertNotIn("hunter2", str(error), repr(text))
