"""What OpenSSL's numbers say about a certificate that it does not accept."""

from __future__ import annotations

EXPIRED = "it has expired"
#: X509_V_ERR_… of OpenSSL's x509_vfy.h.
_TEXTS = {
    3: "HTTP_CRL has no revocation list of its CA",
    7: "its signature is wrong",
    9: "it is not yet valid",
    10: EXPIRED,
    11: "the revocation list of its CA is not yet valid",
    12: "the revocation list of its CA has expired",
    18: "it is self-signed, and HTTP_CACERT does not have it",
    19: "the root of its chain is not in HTTP_CACERT",
    20: "its CA is not in HTTP_CACERT, and the client sends no chain to it",
    21: "its CA is not in HTTP_CACERT, and the client sends no chain to it",
    22: "its chain is too long",
    23: "it is revoked",
    24: "a certificate of its chain is not that of a CA",
    25: "its chain is longer than its CA allows",
    26: "it is not for clients",
    66: "its key is too short",
    67: "the key of its CA is too short",
    68: "it is signed with a weak digest",
}


def verify_error(number: int, depth: int) -> str:
    """Why a client's certificate is not accepted.

    Args:
        number: of the error.
        depth: 0 for the client's certificate, more for a CA of its chain.
    """
    text = _TEXTS.get(number, f"error {number} of OpenSSL")
    return text if depth == 0 else f"{text} (certificate {depth} of its chain)"
