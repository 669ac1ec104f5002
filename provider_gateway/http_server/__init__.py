"""The HTTP/1.1 server: connections, parsing, requests, responses."""
