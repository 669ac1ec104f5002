"""Tests of provider-gateway, run with trial."""

import os

# grpcio reads it when it is imported, for its servers in tests as well.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
