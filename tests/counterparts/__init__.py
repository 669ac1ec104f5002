"""Programs of others that speak the protocols that we speak: servers behind us, clients before us."""
