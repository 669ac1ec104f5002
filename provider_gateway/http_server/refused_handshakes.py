"""Logs why TLS handshakes of clients fail, each reason once a minute at most: anybody may begin as many as he likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.observability.repeats import Repeats

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_log = Logger()
#: Reasons that are remembered. There are a few hundred texts of OpenSSL, and hardly more than ten are seen.
_MOST = 50
_OTHERS = "other reasons"
_NO_CERTIFICATE = "peer did not return a certificate"
_NOT_VERIFIED = "certificate verify failed"
#: What OpenSSL says, in the words of this side.
_WORDS = {
    _NO_CERTIFICATE: "the client shows no certificate",
    _NOT_VERIFIED: "the client's certificate is not accepted",
    "http request": "the client speaks HTTP without TLS",
    "https proxy request": "the client takes us for a proxy, and speaks HTTP without TLS",
    "wrong version number": "the client speaks no TLS",
    "unsupported protocol": "the client offers neither TLS 1.2 nor TLS 1.3",
    "no shared cipher": "the client offers no cipher that is accepted",
}
#: Alerts by which a client says that it does not trust our certificate.
_DISTRUST = ("unknown ca", "bad certificate", "certificate unknown", "certificate expired")


def not_verified() -> Failure:
    """Ends a handshake like the error by which OpenSSL refuses a certificate."""
    return Failure(SSL.Error([("SSL routines", "", _NOT_VERIFIED)]))


class RefusedHandshakes:
    """Writes the log of one listener.

    Args:
        clock: times the pause between two lines with the same reason.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._repeats = Repeats(clock)
        self._reasons: set[str] = set()

    def failed(self, transport: Any, error: BaseException | None) -> None:
        """Log that a handshake has failed.

        A connection that just ends is no refusal: load balancers and port scanners do that. It is logged at "debug".

        Args:
            transport: the TLS connection, which has ended.
            error: why it has ended.
        """
        client = getattr(transport.getPeer(), "host", None)
        if not isinstance(error, SSL.Error):
            _log.debug("TLS handshake failed: {reason}", reason=str(error), client=client)
            return
        reason = _reason(transport, error)
        if len(self._reasons) >= _MOST and reason not in self._reasons:
            reason = _OTHERS
        self._reasons.add(reason)
        left_out = self._repeats.left_out(reason, reason)
        if left_out is None:
            _log.debug("TLS handshake refused: {reason}", reason=reason, client=client)
        elif left_out:
            _log.info(
                "TLS handshake refused: {reason} ({left_out} more since the last such line)",
                reason=reason,
                client=client,
                left_out=left_out,
            )
        else:
            _log.info("TLS handshake refused: {reason}", reason=reason, client=client)


def _reason(transport: Any, error: SSL.Error) -> str:
    """The reason in one line. Nothing in it was sent by the client, but for the kind of its alert."""
    parts = error.args[0] if error.args and isinstance(error.args[0], list) else []
    text = str(parts[0][-1]) if parts else "the connection was closed"
    if text == _NOT_VERIFIED:
        problem = getattr(transport.getHandle(), "problem", "")
        return f"{_WORDS[text]}: {problem}" if problem else _WORDS[text]
    if " alert " in text:
        advice = "; does it know the CA of HTTP_CERT?" if text.endswith(_DISTRUST) else ""
        return f"the client refuses: {text.partition(' alert ')[2]}{advice}"
    return _WORDS.get(text, text)
