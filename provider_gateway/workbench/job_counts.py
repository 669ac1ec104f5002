"""Counts the messages that jobs have acted on, as metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.parking.job_run import Job
    from provider_gateway.parking.jobs import JobDocument

_OUTCOMES = ("done", "skipped", "missing", "failed")


def count_messages(job: Job, metrics: Metrics) -> None:
    """Count the messages of a job by what becomes of them, from now on. A dry run counts nothing."""
    counted = dict.fromkeys(_OUTCOMES, 0)

    def count(document: JobDocument) -> None:
        for outcome in _OUTCOMES:
            more = getattr(document, outcome) - counted[outcome]
            if more > 0:
                metrics.parking_messages.labels(document.queue, document.action, outcome).inc(more)
                counted[outcome] += more

    if not job.document.dry_run:
        job.watch(count)
        job.when_over().addCallback(count)
