"""TLS, identities and access rules, and their reload."""
