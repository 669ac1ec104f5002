"""Reasons of failed connections: words for operators, without objects and without what the peer has sent."""

from __future__ import annotations

from OpenSSL import SSL
from pika.exceptions import ProbableAuthenticationError
from service_identity import CertificateError, VerificationError
from service_identity.exceptions import DNSMismatch, IPAddressMismatch
from service_identity.hazmat import DNS_ID, IPAddress_ID
from twisted.internet.error import ConnectionRefusedError as TCPRefused, DNSLookupError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from provider_gateway.net.failure_reasons import reason_of


class ReasonTests(SynchronousTestCase):
    """One line for each kind of error."""

    def test_words(self) -> None:
        """Errors of the system, Twisted, pika and TLS have their own words."""
        for error, expected in (
            (TCPRefused("nobody there"), "Connection was refused by other side: nobody there."),
            (DNSLookupError("no such host"), "DNS lookup failed: no such host."),
            (OSError(13, "Permission denied"), "[Errno 13] Permission denied"),
            (ProbableAuthenticationError("refused"), "refused"),
            (SSL.Error([("SSL routines", "", "certificate verify failed")]), "TLS: certificate verify failed"),
            (
                SSL.Error([("SSL routines", "", "wrong version number")]),
                "TLS: wrong version number (the server does not speak TLS on this port)",
            ),
            (
                CertificateError("*.*"),
                "the server's certificate names no host (its common name does not count), or its names are malformed",
            ),
            (SSL.Error(-1, "Unexpected EOF"), "TLS: the connection was closed"),
            (
                VerificationError([DNSMismatch(DNS_ID("a.example"))]),
                "the server's certificate is for another host, not for a.example",
            ),
            (
                VerificationError([IPAddressMismatch(IPAddress_ID("10.0.0.1"))]),
                "the server's certificate is for another host, not for 10.0.0.1",
            ),
        ):
            self.assertEqual(reason_of(error), expected)

    def test_wrapped(self) -> None:
        """The reason of an error that wraps others is the first one's."""
        error = ResponseNeverReceived([Failure(TCPRefused("away")), Failure(ValueError("x"))])
        self.assertIn("away", reason_of(error))

    def test_what_a_peer_sent(self) -> None:
        """Of any other error only the type appears: its text may repeat what the peer has sent."""
        self.assertEqual(reason_of(ValueError("b'/predict?key=secret'")), "no valid HTTP (ValueError)")
