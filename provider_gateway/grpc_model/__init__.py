"""Calls of models that speak gRPC. Needs the extra ``provider-gateway[grpc]``; nothing else imports grpcio."""

import os

# gRPC's core reads these when it is loaded. Without the first it would write lines of its own to standard error: the
# reason of each failure is in our log. With the second it leaves forks alone: a process that starts another one could
# be aborted in between.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
