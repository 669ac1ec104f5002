"""Submit a request, come back, and fetch its result: by polling, or with one long-poll. Needs the package requests.

    python examples/results.py URL CERTS [--wait]

URL is that of the gateway (https://localhost:5050), CERTS a folder with cacert.pem, client_cert.pem and client_key.pem.
With --wait, the gateway answers as soon as there is a result; else this program asks again after the time that the
gateway names.
"""

import sys
import time

import requests

BODY = {"data": [29, 29]}


def submit(session: requests.Session, url: str, body: object) -> str:
    """Submit a request; returns the address to come back to."""
    headers = {"routing-key": "predict.now", "Prefer": "respond-async"}
    response = session.post(f"{url}/v1/predict", json=body, headers=headers, timeout=30)
    if response.status_code != 202:
        sys.exit(f"status {response.status_code}: {response.text}")
    return f"{url}{response.headers['Location']}"


def poll(session: requests.Session, address: str) -> None:
    """Ask for the status until it is final."""
    while True:
        response = session.get(address, timeout=30)
        response.raise_for_status()
        if response.json()["status"] != "pending":
            return
        time.sleep(int(response.headers.get("Retry-After", "1")))


def wait(session: requests.Session, address: str) -> None:
    """Let the gateway wait: whichever replica stores the result, the response comes at once."""
    while True:
        response = session.get(f"{address}/result", headers={"Prefer": "wait=60"}, timeout=90)
        # A model's own response may be a 202, too: the status document says whether this one is.
        if response.status_code != 202 or session.get(address, timeout=30).json()["status"] != "pending":
            return


def main() -> None:
    """Submit, come back, fetch."""
    url, certs, *options = sys.argv[1:]
    session = requests.Session()
    session.trust_env = False  # else REQUESTS_CA_BUNDLE wins over the next line
    session.verify = f"{certs}/cacert.pem"
    session.cert = (f"{certs}/client_cert.pem", f"{certs}/client_key.pem")
    address = submit(session, url, BODY)
    if "--wait" in options:
        wait(session, address)
    else:
        poll(session, address)
    result = session.get(f"{address}/result", timeout=30)
    print(f"status {result.status_code}: {result.text}")


if __name__ == "__main__":
    main()
