"""trial that ends when it is interrupted: ``python -m devtools.trial`` with trial's arguments.

trial counts an interrupt within a synchronous test as an error of that test and goes on. Here the first SIGINT ends the
process. The functions that tests have registered with :mod:`atexit` run before: they stop RabbitMQ nodes and gateways.
"""

from __future__ import annotations

import atexit
import os
import signal

from twisted.scripts import trial

INTERRUPTED = 130


def end(*_: object) -> None:
    """End the process at once; an exception would be caught around the test that runs."""
    atexit._run_exitfuncs()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, end)
    trial.run()
