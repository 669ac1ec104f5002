"""Encrypts and decrypts TLS records: OpenSSL's calls alone, with the connections of pyOpenSSL.

For each record, pyOpenSSL makes a buffer, copies it, and looks for errors in four calls, even if there is none. That
takes 1.5 µs. Here it has to say what an error is, if there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL.SSL import Error

if TYPE_CHECKING:
    from OpenSSL.SSL import Connection

#: Limit in bytes of a record's content (RFC 8446, 5.2).
CONTENT = 2**14
#: A record with so many bytes is a part of something large: what follows it is delivered with it.
_LARGE = 4096
#: Records that are delivered as one: those of what Twisted reads at once.
_TOGETHER = 5

_openssl: Any = Binding.lib
_ffi: Any = Binding.ffi
#: Contents, until they are copied. One buffer does for all connections: nothing else runs before they are.
_contents = _ffi.new("char[]", _TOGETHER * CONTENT)


def decrypt(connection: Connection, records: int) -> tuple[bytes, int, Error | None]:
    """Decrypt records that have arrived as a whole, up to the first that is small.

    Args:
        records: how many have arrived, one or more.

    Returns:
        Their contents, how many they were, and the error that followed them, if one did.
    """
    ssl: Any = connection._ssl
    count = size = 0
    while count < min(records, _TOGETHER):
        result = _openssl.SSL_read(ssl, _contents + size, CONTENT)
        if result <= 0:
            return _ffi.buffer(_contents, size)[:], count, _error_of(connection, result)
        count += 1
        size += result
        if result < _LARGE:
            break
    return _ffi.buffer(_contents, size)[:], count, None


def encrypt(connection: Connection, data: bytes | memoryview, start: int, end: int) -> int:
    """Encrypt a part of some bytes, in records that are as large as possible.

    OpenSSL encrypts the whole part in one call, unless its context lets it write a part (``write_whole``).

    Returns:
        Where the bytes that were encrypted end. Before ``end``, OpenSSL refused more: asked by pyOpenSSL, it says why.
    """
    ssl: Any = connection._ssl
    content = _ffi.from_buffer(data)
    while start < end:
        result = _openssl.SSL_write(ssl, content + start, end - start)
        if result <= 0:
            _error_of(connection, result)
            break
        start += result
    return start


def renew_buffers(connection: Connection) -> None:
    """Give OpenSSL new buffers to and from the socket: they keep the size of the handshake, 3 KB and more.

    Buffers with something in them stay.
    """
    data = _ffi.new("char **")
    if any(_openssl.BIO_get_mem_data(each, data) for each in (connection._into_ssl, connection._from_ssl)):
        return
    into, out = (_openssl.BIO_new(_openssl.BIO_s_mem()) for _ in range(2))
    _openssl.SSL_set_bio(connection._ssl, into, out)  # which frees the old ones
    connection._into_ssl, connection._from_ssl = into, out


def _error_of(connection: Connection, result: int) -> Error:
    """The error of a call that failed. OpenSSL does not keep it: it would seem to be that of the next call."""
    try:
        connection._raise_ssl_error(connection._ssl, result)
    except Error as error:
        return error
    raise AssertionError(result)  # pragma: no cover - pyOpenSSL raises an error for each result that is not positive
