"""URLs that may hold a key: their query is never shown, and errors do not quote them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.masked_url import MaskedURL


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
