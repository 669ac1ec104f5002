"""The matrix of docs/security.md over real sockets: what gets in, and what hostile input gets."""
