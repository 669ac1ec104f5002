"""A process that replays or drops all parked messages of a queue, and kills itself (SIGKILL) at a step.

    python -m tests.faults.replaying URL QUEUE KIND ACTION STEP COUNT

At the COUNT-th time that it comes to STEP, it is gone. Without such a step it does its work and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from provider_gateway.amqp.publisher import Publisher
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.parking.deliveries import Deliveries
from provider_gateway.parking.job_run import Job
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.parking.note import Note
from provider_gateway.parking.operators import Operator
from provider_gateway.parking.parking import Parking
from provider_gateway.parking.places import places_of

#: Where it may end: by name, what is called there, and whether that is done before.
STEPS: dict[str, tuple[type, str, bool]] = {
    "declare": (Deliveries, "open", False),
    "window": (Deliveries, "renew", False),
    "delivery": (Deliveries, "take", True),
    "note": (Note, "write", False),
    "publish": (Publisher, "publish", False),
    "published": (Publisher, "publish", True),
    "confirmed": (Job, "_sent", False),
    "audited": (Job, "_write_audit", True),
    "acknowledge": (Deliveries, "ack", False),
    "acknowledged": (Deliveries, "ack", True),
    "give back": (Deliveries, "give_back", False),
    "given back": (Deliveries, "give_back", True),
}


def die_at(step: str, count: int) -> None:
    """End this process when it comes to a step."""
    where, name, is_after = STEPS[step]
    method, times = getattr(where, name), iter(range(1, count + 1))

    def counted(*args: Any, **named: Any) -> Any:
        is_last = next(times) == count
        if is_last and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*args, **named)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(where, name, counted)


def entry_of(queue: str, kind: str) -> QueueEntry:
    """The entry of the queue."""
    return QueueEntry.model_validate(
        {"topic": f"topic.{queue}", "queueName": queue, "bindingKey": "predict.*", "queueType": kind}
    )


async def work(reactor: Any, url: str, queue: str, kind: str, action: Any) -> None:
    """Do it."""
    entry = entry_of(queue, kind)
    settings = Settings(_env_file=None, rmq_url=url, model_url="http://127.0.0.1:1/")  # type: ignore[call-arg]
    places = places_of([entry], webhooks=False)
    parking = Parking(reactor, settings, [entry], tls=None, places=places, audit=lambda _: None, wall_clock=time.time)
    job = parking.start(JobRequest(action=action, queue=queue, operator=Operator("olga", "here")))
    await job.when_over()


def main() -> None:
    """Run as the documentation of this module says."""
    url, queue, kind, action, step, count = sys.argv[1:]
    if step in STEPS:
        die_at(step, int(count))
    task.react(lambda reactor: Deferred.fromCoroutine(work(reactor, url, queue, kind, action)))


if __name__ == "__main__":
    main()
