"""A receiver of webhooks: it checks their signatures, and drops those that it has seen. It needs standardwebhooks.

python examples/webhook_receiver.py SECRET_FILE PORT

It speaks plain HTTP on a loopback address: in production, put it behind a server that speaks TLS.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(Path(sys.argv[1]).read_text().strip())
seen = set()  # in production: in a database, for some days


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 if the signature is right, and 401 otherwise."""

    def do_POST(self):
        """Take a webhook."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_response(401)
        else:
            if self.headers["webhook-id"] not in seen:
                seen.add(self.headers["webhook-id"])
                print(event["type"], event["data"]["result"], flush=True)
            self.send_response(204)
        self.end_headers()


server = HTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver)
print("ready", server.server_port, flush=True)
server.serve_forever()
