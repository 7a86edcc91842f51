"""Whether files are as they were, told without reading them: by name, size and time of change.

Reading 50,000 photos to find that none has changed takes longer than a stage without work may take.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sugar.data.atomic import sha256_bytes

VERSIONS = frozenset(
    "etag md5hash contentmd5 digest checksum mtime lastmodified updated modified created".split()
)
"""Entries of fsspec's `info` that change with a file's contents; each kind of place has some of them."""


def local_state(file: Path | str) -> str:
    """Size and time of change of a file here; of what a link leads to."""
    try:
        about = os.stat(file)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return "missing"
    return f"{about.st_size} {about.st_mtime_ns}"


def remote_state(info: Mapping[str, Any]) -> str | None:
    """The same of what fsspec says of a file elsewhere; None where it says no more than a size."""
    told = {name: value for name, value in info.items() if _plain(name) in VERSIONS and value}
    if not told:
        return None
    return " ".join([str(info.get("size")), *(f"{name}={told[name]}" for name in sorted(told))])


def states_digest(states: Mapping[str, str | None]) -> str | None:
    """SHA-256 of name -> state, in whatever order; None where one is not known."""
    if None in states.values():
        return None
    text = "\n".join(f"{name}\0{state}" for name, state in sorted(states.items()))
    return sha256_bytes(text.encode(errors="surrogatepass"))  # a file's name need not be UTF-8


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
