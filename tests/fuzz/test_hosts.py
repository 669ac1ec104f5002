"""Hosts and URLs of any text: an error in words at the start, or a value that sockets, TLS, HTTP and AMQP take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from twisted.internet import ssl
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.broker_url import parse_broker_urls
from provider_gateway.config.host import bracketed, parse_host
from provider_gateway.config.model_url import (
    model_url,
    parse_model_path,
    parse_model_url,
    parse_ready_url,
    ready_url,
)
from provider_gateway.http_client.treq_post import FixedURL, RequestHeaders
from provider_gateway.model.client import model_client
from provider_gateway.security.server_identity import HostTLS
from tests.fuzz.profiles import fuzzed

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECES = (
    "a", "A", "rabbit_mq", "-", "_", ".", "..", ":", "::", "::1", "[", "]", "[::1]", "%", "%25eth0", "%41", "@", ",",
    "*", "u:hunter2@", "/", "//", "http://", "?", "#", "0", "1", "127", "127.0.0.1", "0x7f", "010", "256",
    "99999999999", "80", ":80", ":0", " ", "\n", "\t", "\0", "\u00fc", "\u00df", "\u3002", "\uff0e", "\u200b",
    "\u2100", "\ud800", "\\", '"', "\U0001f407", "xn--", "xn--a", "a" * 63, "a" * 64, "<", "|", "fe80::",
    "::ffff:1.2.3.4",
)  # fmt: skip
_texts = st.one_of(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join), st.text(max_size=12))
_tls = ssl.CertificateOptions(trustRoot=ssl.trustRootFromCertificates([]))


class HostsTests(SynchronousTestCase):
    """Texts that are put together of what hosts and URLs have in them, and of what they must not have."""

    def parsed(self, parse: Callable[[str], Any], text: str) -> Any:
        """The value; None if the text is refused in words, without a word of the text."""
        try:
            return parse(text)
        except ValueError as error:
            self.assertIs(type(error), ValueError)  # no UnicodeError, which would quote the text
            self.assertNotIn("\n", str(error))
            self.assertNotIn("hunter2", str(error))
            return None

    def assert_host(self, host: str) -> None:
        """Check that a host can be looked up or connected to, sent as a server name, and read again."""
        self.assertEqual(host, parse_host(host))
        self.assertEqual(host, parse_host(bracketed(host)))
        if not (isIPAddress(host) or isIPv6Address(host)):
            self.assertEqual(host, host.encode("idna").decode("ascii"))
        transport: Any = TLSMemoryBIOFactory(HostTLS(_tls, host), True, Factory.forProtocol(Protocol)).buildProtocol(
            None
        )
        transport.makeConnection(StringTransport())
        self.assertTrue(transport.transport.value(), host)  # the first message of the handshake

    def assert_request(self, url: str) -> None:
        """Check that a request to a URL reaches the right host, and has it in its Host header."""
        self.assertEqual(url, parse_model_url(url).reveal())
        reactor = MemoryReactorClock()
        fixed = FixedURL.of(url)
        getting = model_client(reactor, None, 1).get(fixed, headers=RequestHeaders({}))
        reactor.advance(0)
        protocol, transport = reactor.tcpClients[0][2].buildProtocol(None), StringTransport()
        transport.setTcpNoDelay = lambda _: None
        protocol.makeConnection(transport)
        head = transport.value().split(b"\r\n")
        getting.addErrback(lambda _: None).cancel()
        self.assertRegex(head[0], rb"^GET /[\x21-\x7e]* HTTP/1\.1$")
        port = "" if fixed.port == 80 else f":{fixed.port}"
        self.assertIn(f"Host: {bracketed(fixed.host)}{port}".encode(), head)

    @fuzzed(600, text=_texts)
    def test_host(self, text: str) -> None:
        """A host is refused, or can be used everywhere."""
        host = self.parsed(parse_host, text)
        if host is not None:
            self.assert_host(host)
            self.assert_request(model_url(host, 8080, parse_model_path("/p?q")).reveal())

    @fuzzed(600, text=_texts)
    def test_model_url(self, text: str) -> None:
        """The URL of the model is refused, or can be called."""
        url = self.parsed(parse_model_url, f"http://{text}")
        if url is not None:
            self.assert_request(url.reveal())

    @fuzzed(300, text=_texts)
    def test_model_path(self, text: str) -> None:
        """The path of the model is refused, or can be called."""
        path = self.parsed(parse_model_path, f"/{text}")
        if path is not None:
            self.assert_request(model_url("m", 8080, path).reveal())

    @fuzzed(300, text=st.one_of(_texts.map("http://{}".format), _texts.map("/{}".format), _texts))
    def test_ready_url(self, text: str) -> None:
        """A ready URL is refused, or can be called; a path leads to the model's host."""
        given = self.parsed(parse_ready_url, text)
        if given is not None:
            url = ready_url(given, parse_model_url("http://[::1]:5/p?q"))
            if given.reveal().startswith("/"):
                self.assertTrue(url.reveal().startswith("http://[::1]:5/"), url.reveal())
            if url.reveal().startswith("http://"):
                self.assert_request(url.reveal())

    @fuzzed(600, text=_texts)
    def test_broker_urls(self, text: str) -> None:
        """The addresses of brokers are refused, or can be connected to; their text is without the password."""
        urls = self.parsed(parse_broker_urls, f"amqp://{text}")
        for url in urls or ():
            self.assert_host(url.host)
            self.assertNotIn("hunter2", str(url))
            self.assertLessEqual(len(url.virtual_host.encode()), 255)
