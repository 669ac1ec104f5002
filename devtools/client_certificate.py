"""A Chromium that has client certificates, and chooses by itself which of them each host gets.

The certificates are in an NSS database in a home of its own. Which one a host gets is a policy, and Chromium reads
policies from one folder only, ``/etc/chromium``. So a mount namespace shows Chromium another folder at this path:
nothing on the machine is changed. Where that is not permitted, the policy is written there, and removed at the end.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509.oid import NameOID

from devtools.browser import Browser, NoBrowser

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

_ETC = Path("/etc/chromium")
_POLICY = Path("policies/managed/provider-gateway-tests.json")
_PASSWORD = "only in this folder"


def browser_with_certificates(
    stack: ExitStack, home: Path, certs: Path, names: Mapping[str, str], options: tuple[str, ...] = ()
) -> Browser:
    """Start a browser that ends with the stack.

    Args:
        home: folder of the profile; is created.
        certs: has ``cacert.pem``, which is trusted, and ``NAME_cert.pem`` and ``NAME_key.pem``.
        names: the file names' beginnings by origin, such as ``https://localhost:5050``.

    Raises:
        NoBrowser: something is missing; the text says what.
    """
    if shutil.which("certutil") is None:
        msg = "certutil and pk12util are needed: apt-get install libnss3-tools"
        raise NoBrowser(msg)
    _make_database(home / ".pki" / "nssdb", certs, sorted(set(names.values())))
    chosen = [
        json.dumps({"pattern": origin, "filter": {"SUBJECT": {"CN": _common_name(certs / f"{name}_cert.pem")}}})
        for origin, name in names.items()
    ]
    policy = json.dumps({"AutoSelectCertificateForUrls": chosen})
    command = _in_namespace(home, policy)
    if command is None:
        _write_policy(stack, policy)
    browser = Browser(home, command=command, options=options)
    stack.callback(browser.close)
    return browser


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}"
        raise NoBrowser(msg)


def _make_database(database: Path, certs: Path, names: list[str]) -> None:
    database.mkdir(parents=True)
    where = f"sql:{database}"
    _run("certutil", "-N", "-d", where, "--empty-password")
    _run("certutil", "-A", "-d", where, "-n", "authority", "-t", "C,,", "-i", certs / "cacert.pem")
    for name in names:
        certificate = x509.load_pem_x509_certificate((certs / f"{name}_cert.pem").read_bytes())
        key: Any = load_pem_private_key((certs / f"{name}_key.pem").read_bytes(), password=None)
        encryption = BestAvailableEncryption(_PASSWORD.encode())
        file = database / f"{name}.p12"
        file.write_bytes(pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, None, encryption))
        _run("pk12util", "-i", file, "-d", where, "-W", _PASSWORD)
        file.unlink()


def _common_name(cert: Path) -> str:
    subject = x509.load_pem_x509_certificate(cert.read_bytes()).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _in_namespace(home: Path, policy: str) -> str | None:
    """A command that is a chromedriver whose Chromium sees the policy; None if there can be no mount namespace."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    tried = subprocess.run([*unshare, "mount", "--bind", "/etc", "/etc"], capture_output=True, check=False)
    if tried.returncode or not _ETC.is_dir():
        return None
    etc = home / "etc"
    shutil.copytree(_ETC, etc)
    (etc / _POLICY).parent.mkdir(parents=True, exist_ok=True)
    (etc / _POLICY).write_text(policy)
    driver = home / "chromedriver"
    mounted = f'mount --bind {shlex.quote(str(etc))} {_ETC} && exec chromedriver "$@"'
    driver.write_text(f'#!/bin/sh\nexec {shlex.join(unshare)} sh -c {shlex.quote(mounted)} chromedriver "$@"\n')
    driver.chmod(0o755)
    return str(driver)


def _write_policy(stack: ExitStack, policy: str) -> None:
    file = _ETC / _POLICY
    try:
        missing = [folder for folder in (file.parent, file.parent.parent) if not folder.exists()]
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in reversed(missing):
            stack.callback(folder.rmdir)
        file.write_text(policy)
        stack.callback(file.unlink)
    except OSError as error:
        msg = f"{file}: the policy is needed and cannot be written ({error.strerror}), and unshare is not permitted"
        raise NoBrowser(msg) from None
