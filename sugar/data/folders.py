"""Folders of a user's photos and clips."""

from __future__ import annotations

import os
from collections.abc import Iterator


def folders_below(root: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder from a root down that is not hidden, links to folders followed, and its files' names.

    A folder that several paths lead to comes once, so that loops of links end: by a path with the fewest
    links, of several such links by the first.
    """
    starts, seen = [root], set[tuple[int, int]]()
    while starts:
        links = []
        for start in starts:
            for folder, below, files in os.walk(start):
                about = os.stat(folder)
                if (about.st_dev, about.st_ino) in seen:
                    below.clear()
                    continue
                seen.add((about.st_dev, about.st_ino))
                below[:] = [name for name in below if not name.startswith(".")]
                links += filter(os.path.islink, (os.path.join(folder, name) for name in below))
                yield folder, files
        starts = sorted(links)
