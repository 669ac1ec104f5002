"""Why a connection failed, in words for the log. Neither objects nor what the peer has sent appear in them."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from pika.exceptions import AMQPError
from service_identity import CertificateError, VerificationError
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost, DNSLookupError

#: Errors whose text comes from Twisted, pika or the operating system, and never from the peer.
_PLAIN_TEXT = (OSError, ConnectError, DNSLookupError, ConnectionDone, ConnectionLost, ConnectionAborted, AMQPError)
#: What OpenSSL says about an answer that is no TLS.
_NOT_TLS = frozenset({"wrong version number", "packet length too long", "http request", "unknown protocol"})


def reason_of(error: BaseException | None) -> str:
    """The reason in one line.

    Args:
        error: the value of a Failure. None is not expected: Twisted's annotations allow it.
    """
    assert error is not None, "every Failure has an error"
    inner = getattr(error, "reasons", None)
    if isinstance(inner, list) and inner:
        return reason_of(inner[0].value)  # twisted.web.client.ResponseFailed and its like wrap a Failure
    if isinstance(error, VerificationError):
        return f"the server's certificate is for another host, not for {', '.join(map(_host, error.errors))}"
    if isinstance(error, CertificateError):
        return "the server's certificate names no host (its common name does not count), or its names are malformed"
    if isinstance(error, SSL.Error):
        parts = [part[-1] for part in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        hint = " (the server does not speak TLS on this port)" if _NOT_TLS.intersection(parts) else ""
        return f"TLS: {', '.join(parts) or 'the connection was closed'}{hint}"
    if isinstance(error, _PLAIN_TEXT):
        return str(error) or type(error).__name__
    return f"no valid HTTP ({type(error).__name__})"  # its text may repeat what the peer has sent


def _host(mismatch: Any) -> str:
    """The host that the certificate should name (service_identity's ``DNS_ID`` or ``IPAddress_ID``)."""
    wanted = mismatch.mismatched_id
    return str(wanted.ip) if hasattr(wanted, "ip") else wanted.hostname.decode("ascii")
