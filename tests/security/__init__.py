"""The matrix of docs/security.md, tested over real sockets against a running gateway."""
