"""Calls of models that speak gRPC. Needs the extra ``provider-gateway[grpc]``; nothing else imports grpcio."""

import os

# gRPC's core would write lines of its own to standard error: the reason of each failure is in our log. It reads the
# variable when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
