"""How to log in to PostgreSQL: libpq's parameters from the URL, with safe defaults; and its errors in one line."""

from __future__ import annotations

import re
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.config.store_url import StoreURL

#: Used unless the URL says otherwise. ``read-write``: of several hosts the primary, after a failover the new one.
_DEFAULTS: Mapping[str, Any] = {
    "application_name": "provider-gateway",
    "client_encoding": "UTF8",
    "connect_timeout": 3,
    "target_session_attrs": "read-write",
    # psycopg would warn of a login by Kerberos that nobody asked for.
    "gssencmode": "disable",
}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Where Debian, Red Hat and Alpine have the CAs that they trust.
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_SECRETS = ("password", "sslpassword")
#: SQLSTATEs, the server's words for them (errors while connecting have no SQLSTATE), and what to do.
_ADVICE = (
    ("28P01", "password authentication failed", "check user and password"),
    ("28P01", "no password supplied", "put the password into the URL"),
    ("28000", "no pg_hba.conf entry", "have the server's pg_hba.conf allow this user, address and kind of TLS"),
    ("28000", "certificate authentication failed", "check sslcert and sslkey"),
    ("28000", "requires a valid client certificate", "name one with sslcert and sslkey in the URL"),
    ("3D000", 'FATAL:  database "', "create the database, owned by the role"),
    ("3F000", "no schema has been selected", "create a schema that is in the role's search_path"),
    ("42501", "permission denied", "grant the role CREATE on the schema, or its rights on our tables"),
    ("53300", "too many clients", "raise max_connections, or put PgBouncer in front"),
    ("53300", "too many connections", "raise the role's or the database's limit, or put PgBouncer in front"),
    ("53300", "remaining connection slots", "raise max_connections, or put PgBouncer in front"),
    ("53100", "No space left on device", "make room on the disk of the server"),
    ("25006", "session is read-only", "this server is a standby; name the primary, or all hosts"),
    ("", "certificate verify failed", "sslrootcert=FILE in the URL names the CA"),
    ("", "root certificate file", "sslrootcert=FILE in the URL names the CA"),
    ("", "server does not support SSL", "switch TLS on at the server; sslmode=disable in the URL does without"),
)


def parameters(url: StoreURL) -> dict[str, Any]:
    """The parameters of a connection, as psycopg's ``connect`` takes them.

    TLS is ``verify-full`` unless the URL says otherwise, or all hosts are this machine.

    Raises:
        SettingsError: libpq cannot read the URL. The text does not quote it: libpq's own errors show passwords.
    """
    try:
        given = conninfo.conninfo_to_dict(url.reveal())
    except psycopg.Error as error:
        known = re.match(r'invalid URI query parameter: "([a-z_]{1,40})"', str(error))
        what = f"a parameter that libpq knows, not {known[1]!r}" if known else "an address that libpq can read"
        msg = f"RESULT_STORE: expected {what} (percent-encode special characters of user and password)"
        raise SettingsError(msg) from None
    if not re.fullmatch(r"-?[0-9]+|", str(given.get("connect_timeout") or "")):
        msg = "RESULT_STORE: expected connect_timeout as whole seconds"
        raise SettingsError(msg)
    mode = given.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        msg = f"RESULT_STORE: expected sslmode as one of {', '.join(_SSL_MODES)}"
        raise SettingsError(msg)
    merged = {**_DEFAULTS, **given}
    if mode is None and not _is_local(given):
        mode = merged["sslmode"] = "verify-full"
    if mode == "verify-full" and merged.get("sslrootcert", "system") == "system":
        merged["sslrootcert"] = _system_authorities()
    return merged


def _system_authorities() -> str:
    """The file with the CAs that this machine trusts: psycopg's own OpenSSL looks where no system has them."""
    candidates = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((path for path in candidates if path and Path(path).exists()), "system")


def _is_local(given: Mapping[str, Any]) -> bool:
    """True if no byte of a connection leaves this machine: sockets, and addresses of the loopback interface."""
    hosts = str(given.get("hostaddr") or given.get("host") or "").split(",")
    return all(host in {"", "localhost"} or host.startswith(("/", "@")) or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def in_one_line(error: Exception, given: Mapping[str, Any]) -> str:
    """An error of psycopg's as one line that says what to do, without a password.

    Args:
        given: the parameters of the connection.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    failures = [line for line in lines if line.startswith("- host: ")]
    said = "; ".join(dict.fromkeys(map(_shortened, failures or lines[:1])))
    for name in _SECRETS:
        if secret := str(given.get(name) or ""):
            said = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", said)
    sqlstate = getattr(error, "sqlstate", None)
    advice = next((what for known, text, what in _ADVICE if known == sqlstate or text in said), None)
    return f"{said}: {advice}" if advice else said


def _shortened(line: str) -> str:
    """A line of psycopg's without the words that all of them begin with."""
    attempt = re.match(r"- host: '?(.*?)'?, port: '?(.*?)'?, hostaddr: .*?: ", line)
    said = line[attempt.end() :] if attempt else line
    said = said.removeprefix("connection failed: ").removeprefix("connection is bad: ")
    return f"{attempt[1]}:{attempt[2]}: {said}" if attempt and "connection to server" not in said else said
