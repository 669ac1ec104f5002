"""Names of variables that the program does not know: a misspelt setting stops the start, others are warned of.

Most settings have defaults, so a misspelt one would change nothing, and nobody would notice: without ``HTTP_ACCESS``
every caller may use every queue. Variables of other programs in the same environment must not stop the start.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: Names that begin like settings. What else is in the environment belongs to other programs.
_PREFIXES = ("ADMIN_", "GIN_", "HTTP_", "MODEL_", "MQ_", "RESULT_", "RMQ_")
#: Variables of others with such a beginning: for HTTP clients, and of the web framework that the seed uses.
_OF_OTHERS = re.compile(r"HTTP_PROXY(_.*)?|GIN_MODE")
#: Without these, more callers get in, or more is told. Names near to them stop the start, whatever they begin with.
_FAIL_OPEN = frozenset({"HTTP_ACCESS", "HTTP_CRL", "LOG_MODEL_ERRORS"})
#: How many letters may be wrong: in a name that begins like a setting, and in another one.
_DISTANCE, _DISTANCE_OF_OTHERS = 2, 1
#: What Kubernetes puts into pods for each service of the namespace, unless ``enableServiceLinks`` is false.
_OF_SERVICE = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)")
_PORT = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def is_of_kubernetes(name: str, value: str | None) -> bool:
    """True for a variable by which Kubernetes tells where a service is.

    A service named ``model`` has ``MODEL_PORT=tcp://10.0.0.1:80``. A pod's own ``MODEL_PORT`` takes its place.
    """
    name = name.upper()
    if name.endswith("_PORT") and _PORT.fullmatch((value or "").strip()):
        return True
    return _OF_SERVICE.fullmatch(name) is not None


def meant_names(names: Iterable[str], known: Collection[str], *, distance: int = _DISTANCE) -> dict[str, str]:
    """The known names that unknown ones probably stand for.

    Args:
        names: those that are not known.
        distance: of how many letters they may differ.

    Returns:
        Names with the nearest known one; names that are near to none are left out.
    """
    found: dict[str, str] = {}
    for name in names:
        distances = {each: _distance(name.upper(), each, distance) for each in known}
        nearest = min(distances, key=distances.__getitem__, default="")
        if nearest and distances[nearest] <= distance:
            found[name] = nearest
    return found


def _distance(one: str, other: str, most: int) -> int:
    """How many letters are added, missing, wrong or swapped with the next one (optimal string alignment).

    Args:
        most: a larger distance need not be exact.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]


def misspelt(variables: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """Variables that begin like a setting and differ from one in a letter or two, with the setting's name.

    For settings without which more callers get in, or more is told, a misspelt beginning counts, and so does an
    addition of any length (``HTTP_ACCESS_FILE``).

    Args:
        variables: of the environment and the env file. Upper and lower case count as the same.
        known: names of settings and of other variables that are used, in upper case.
    """
    unknown = _unknown(variables, known)
    others = [name for name in unknown if not _begins_like_setting(name)]
    longer = {name: each for name in unknown for each in _FAIL_OPEN if name.upper().startswith(f"{each}_")}
    return longer | meant_names(filter(_begins_like_setting, unknown), known) | meant_names(others, _FAIL_OPEN)


def check_names(variables: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Check that no variable is a misspelt setting.

    Args:
        variables: as for :func:`misspelt`.
        known: likewise.

    Returns:
        Warnings of other unknown variables: those that begin like a setting, or differ from one in a single letter.

    Raises:
        SettingsError: there is a misspelt setting. The error names it and the setting that is probably meant.
    """
    if wrong := misspelt(variables, known):
        raise misspelling(wrong)
    unknown = _unknown(variables, known)
    warnings = [f"{name}: unknown variable, which is ignored" for name in unknown if _begins_like_setting(name)]
    others = [name for name in unknown if not _begins_like_setting(name)]
    for name, meant in meant_names(others, known, distance=_DISTANCE_OF_OTHERS).items():
        warnings.append(f"{name}: unknown variable, which is ignored; {meant} is perhaps meant")
    return warnings


def misspelling(wrong: Mapping[str, str]) -> SettingsError:
    """The error about misspelt names.

    Args:
        wrong: with the settings that are probably meant.
    """
    name, meant = next(iter(wrong.items()))
    more = "".join(f"; {other} ({each} is probably meant)" for other, each in list(wrong.items())[1:])
    return SettingsError(f"{name}: unknown variable, {meant} is probably meant: correct or remove it{more}")


def _unknown(variables: Mapping[str, str], known: Collection[str]) -> list[str]:
    """The variables that are no settings, without those of Kubernetes and others that are recognised."""
    return [
        name
        for name, value in variables.items()
        if name.upper() not in known and not _OF_OTHERS.fullmatch(name.upper()) and not is_of_kubernetes(name, value)
    ]


def _begins_like_setting(name: str) -> bool:
    return name.upper().startswith(_PREFIXES)
