"""Tests of ``provider_gateway.model.open_inference``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.model.open_inference import infer_url, model_ready_url


class URLTests(SynchronousTestCase):
    """The URLs of a model."""

    def test_urls(self) -> None:
        """They stand below the server's; its path stays before them and its query behind; the name is encoded."""
        for base, infer in (
            ("http://m", "http://m/v2/models/fraud/infer"),
            ("http://m:8080/", "http://m:8080/v2/models/fraud/infer"),
            ("https://[::1]:1/a/b", "https://[::1]:1/a/b/v2/models/fraud/infer"),
            ("http://m/a/?key=1", "http://m/a/v2/models/fraud/infer?key=1"),
            ("http://m?key=/", "http://m/v2/models/fraud/infer?key=/"),
        ):
            self.assertEqual(infer_url(MaskedURL(base), "fraud").reveal(), infer)
            self.assertEqual(model_ready_url(MaskedURL(base), "fraud").reveal(), infer.replace("/infer", "/ready"))
        self.assertEqual(infer_url(MaskedURL("http://m"), "a?b%é").reveal(), "http://m/v2/models/a%3Fb%25%C3%A9/infer")
