#!/usr/bin/env python3
"""Make a CA and a certificate for each program involved, for trials and tests.

    python certs-example/make_certs.py [FOLDER] [--days 30] [--name example.org ...]

writes into FOLDER (default: certs-example/out). Keys are readable by their owner only:

    cacert.pem                              the CA that signs the others
    server_cert.pem      server_key.pem     HTTPS listener of provider-gateway
    broker_cert.pem      broker_key.pem     RabbitMQ
    client_cert.pem      client_key.pem     a caller of the HTTPS listener (CN=initiator)
    client_cert_mq.pem   client_key_mq.pem  provider-gateway at RabbitMQ (CN=provider-gateway)
    model_cert.pem       model_key.pem      an HTTPS model

Not for production: there, your own certificate authority issues the certificates.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from provider_gateway.demo.certificates import make_certificates


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Make a CA and example certificates.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--days", type=int, default=30, help="validity (default: 30)")
    parser.add_argument("--name", action="append", default=[], help="further host name of the servers; repeatable")
    arguments = parser.parse_args()
    make_certificates(arguments.folder, arguments.days, tuple(arguments.name))
    print(f"certificates are in {arguments.folder}")


if __name__ == "__main__":
    main()
