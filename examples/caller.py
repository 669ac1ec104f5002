"""A caller: sends a text and an image to the paths of two models. It needs the package requests.

    python examples/caller.py URL CERTS IMAGE

URL is that of the gateway (https://localhost:5050), CERTS a folder with cacert.pem, client_cert.pem and client_key.pem,
IMAGE a JPEG file.
"""

import sys
from pathlib import Path

import requests

url, certs, image = sys.argv[1:]
session = requests.Session()
session.trust_env = False  # else REQUESTS_CA_BUNDLE wins over the next line
session.verify = f"{certs}/cacert.pem"
session.cert = (f"{certs}/client_cert.pem", f"{certs}/client_key.pem")

response = session.post(f"{url}/v1/sentiment", json={"text": "a great picture"}, timeout=100)
print(response.status_code, response.text)

body = Path(image).read_bytes()
response = session.post(f"{url}/v1/image", data=body, headers={"Content-Type": "image/jpeg"}, timeout=100)
print(response.status_code, response.text)
