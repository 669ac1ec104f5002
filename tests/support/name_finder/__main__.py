"""``python -m tests.support.name_finder [PACKAGE]``: print each use that is found, and how many names they are."""

from __future__ import annotations

import sys

from tests.support.name_finder.finder import Finder, sources_of
from tests.support.name_finder.foreign import is_private


def main() -> None:
    """Print what is found, and how many names that are."""
    package = sys.argv[1] if len(sys.argv) > 1 else "provider_gateway"
    found = Finder(sources_of(package), package).find()
    sys.stdout.write("".join(f"{each}\n" for each in found))
    private = {(each.owner, each.name) for each in found if is_private(each.name)}
    names = {(each.owner, each.name) for each in found}
    sys.stdout.write(f"{len(private)} private names, {len(names - private)} others; {len(found)} uses\n")


if __name__ == "__main__":
    main()
