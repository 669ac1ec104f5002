#!/usr/bin/env python3
"""Make a CA and a certificate for each program involved, for trials and tests.

    python certs-example/make_certs.py [FOLDER] [--days 30] [--name example.org ...]
    python certs-example/make_certs.py [FOLDER] --caller NAME     one more caller (CN=NAME), with the CA that is there

The first writes into FOLDER (default: certs-example/out). Keys are readable by their owner only:

    cacert.pem                              the CA that signs the others
    server_cert.pem      server_key.pem     HTTPS listener of provider-gateway
    broker_cert.pem      broker_key.pem     RabbitMQ
    client_cert.pem      client_key.pem     a caller of the HTTPS listener (CN=initiator)
    client_cert_mq.pem   client_key_mq.pem  provider-gateway at RabbitMQ (CN=provider-gateway)
    model_cert.pem       model_key.pem      an HTTPS model
    ca.key                                  the CA's own key, for further callers; it stays on this machine

Not for production: there, your own certificate authority issues the certificates.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from provider_gateway.demo.certificates import add_caller, make_certificates


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Make a CA and example certificates.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--days", type=int, default=30, help="validity (default: 30)")
    parser.add_argument("--name", action="append", default=[], help="further host name of the servers; repeatable")
    parser.add_argument("--caller", metavar="NAME", help="only make a certificate for one more caller")
    arguments = parser.parse_args()
    folder, caller = arguments.folder, arguments.caller
    if caller is None:
        make_certificates(folder, arguments.days, tuple(arguments.name), keep_key=True)
        print(f"certificates are in {folder}")
        return
    try:
        add_caller(folder, caller, arguments.days)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not there: make the CA first, with this command without --caller")
    except (OSError, ValueError) as error:
        sys.exit(f"--caller: {error}")
    print(f"{folder / caller}_cert.pem and {folder / caller}_key.pem")


if __name__ == "__main__":
    main()
