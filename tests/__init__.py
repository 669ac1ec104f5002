"""Tests of provider-gateway, run with trial."""

import os

# grpcio reads them when it is imported, for its servers in tests as well (provider_gateway/grpc_model/__init__.py).
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
