"""The settings of this machine's pip, for pip in another root file system: index, proxy, certificates."""

from __future__ import annotations

import ast
import configparser
import io
import os
import subprocess
import sys
from pathlib import Path

#: Variables that pip reads besides its own, in small letters or as here.
_OTHERS = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
#: Variables that hold only here: configuration() has what the file says, and the cache is a folder of this user.
_NOT_ELSEWHERE = {"PIP_CONFIG_FILE", "PIP_CACHE_DIR"}


def merged(listing: str) -> str:
    """One configuration file of pip for all those of this machine.

    Args:
        listing: what ``pip config list`` prints, such as ``global.index-url='…'``, and ``:env:`` for variables.
    """
    parser = configparser.RawConfigParser()
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section and section != ":env:":
            parser.read_dict({section: {key: ast.literal_eval(value)}})
    written = io.StringIO()
    parser.write(written)
    return written.getvalue()


def paths_of(*values: str) -> list[str]:
    """The files and folders of this machine that settings name: packages, certificates, constraints."""
    words = [word for value in values for word in value.split()]
    named = [Path(word) for word in words if word.startswith("/")]
    # The files of a package index in a folder lie beside its lists of links.
    named += [Path(word.removeprefix("file://")).parent for word in words if word.startswith("file:///")]
    return sorted({str(path) for path in named if path.exists()} - {"/"})


def configuration() -> str:
    """The settings of pip on this machine that are in files."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    return merged(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def variables() -> dict[str, str]:
    """The variables of this process that pip reads."""
    names = {name for each in _OTHERS for name in (each, each.upper())}
    names |= {name for name in os.environ if name.startswith("PIP_")} - _NOT_ELSEWHERE
    return {name: os.environ[name] for name in sorted(names & set(os.environ))}
