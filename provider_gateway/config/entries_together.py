"""Checks of the entries of a queue file against each other: names and paths that must not stand in two of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry


def check_together(entries: Sequence[QueueEntry], source: str) -> None:
    """Check the entries of a file against each other.

    Args:
        source: name of the file for error messages.

    Raises:
        SettingsError: two of them contradict each other.
    """
    repeated = [name for name, count in Counter(e.queue_name for e in entries).items() if count > 1]
    if repeated:
        msg = f"{source}: queueName {repeated[0]!r} stands in several entries; list its keys under bindingKey instead"
        raise SettingsError(msg)
    names = {entry.queue_name for entry in entries} | {entry.reply_to for entry in entries}
    for index, entry in enumerate(entries):
        if entry.parking in names:
            msg = f"{source}: [{index}].parkingQueue: {entry.parking!r} is a work queue or a replyTo already"
            raise SettingsError(msg)
    _check_shared(entries, source)
    _check_paths(entries, source)
    _check_open_inference(entries, source)


def _check_shared(entries: Sequence[QueueEntry], source: str) -> None:
    """Check that a queue which several entries name has the same type in all of them."""
    types: dict[str, str] = {}
    for index, entry in enumerate(entries):
        for key, name in (("replyTo", entry.reply_to), ("parkingQueue", entry.parking)):
            if name is not None and types.setdefault(name, entry.queue_type) != entry.queue_type:
                msg = (
                    f"{source}: [{index}].{key}: {name!r} is shared with an entry of queueType {types[name]}, "
                    f"this one is {entry.queue_type}; use another name, or one type"
                )
                raise SettingsError(msg)


def _check_paths(entries: Sequence[QueueEntry], source: str) -> None:
    owners: dict[str, str] = {}
    for index, entry in enumerate(entries):
        for path in entry.paths:
            if path in owners:
                msg = f"{source}: [{index}].paths: {path!r} is a path of queue {owners[path]!r} already"
                raise SettingsError(msg)
            owners[path] = entry.queue_name


def _check_open_inference(entries: Sequence[QueueEntry], source: str) -> None:
    owners: dict[str, str] = {}
    for index, entry in enumerate(entries):
        name = entry.model.name if entry.open_inference and entry.model is not None else None
        if name is not None and (owner := owners.setdefault(name, entry.queue_name)) != entry.queue_name:
            msg = (
                f"{source}: [{index}].model.name: {name!r} is the model of queue {owner!r} already; with openInference "
                "each name leads to one queue"
            )
            raise SettingsError(msg)
