"""Files that are there completely or not at all, and one writer a folder.

A file is written to a temporary sibling, flushed to the disk, renamed over its name, and the folder is
flushed: whoever finds the name finds the whole file, also after a power cut or a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sugar.config import InputError

_TEMPORARY = re.compile(r"\..+\.tmp-\d+-[0-9a-f]{8}")


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary sibling of `path`; on success it becomes `path`, on failure it is removed.

    Raises:
        OSError: writing failed (disk full, ...); the message names `path`, whose old content is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            why = f"{error.strerror} while writing; the unfinished file was removed, finished files are kept"
            raise OSError(error.errno, why, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Write `data` as the whole content of `path`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_json_atomic(path: Path | str, value: Any) -> None:
    """Write `value` as JSON with sorted keys: equal values give equal bytes.

    Raises:
        ValueError: the value holds NaN or infinity.
    """
    write_bytes_atomic(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """What `write_json_atomic` writes."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def remove_file(path: Path | str) -> None:
    """Remove `path` if it is there, and flush the folder, so that it stays removed.

    Another process may remove it at the same time.
    """
    path = Path(path)
    if path.exists():
        path.unlink(missing_ok=True)
        _flush(path.parent)


def remove_temporaries(folder: Path | str) -> int:
    """Remove what killed writers left in `folder` and below; only for its single writer. Returns how many."""
    left = [p for p in Path(folder).rglob(".*.tmp-*") if _TEMPORARY.fullmatch(p.name)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class StageLock:
    """One writer for an output folder: a lock file beside it that says who holds it.

    The lock is the kernel's (flock): that of a process that died is free at once. It lies beside the folder
    (`.NAME.lock`), so that the folder itself holds data alone. Taking it removes what a killed writer left.

    Raises (on entry):
        InputError: another process holds it; the message says which, where and since when. Or the folder cannot
            be made or written to.
    """

    def __init__(self, folder: Path | str, stage: str = "") -> None:
        self.folder = Path(folder)
        self.stage = stage
        self.path = self.folder.parent / f".{self.folder.name}.lock"
        self._file: int | None = None

    def __enter__(self) -> StageLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while not self._take():
                pass
        except (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{self.folder}: cannot be written to ({error.strerror})") from error
        remove_temporaries(self.folder)
        return self

    def _take(self) -> bool:
        """Lock the file; False when its holder removed it in the meantime, so that it must be opened anew."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 4096, 0)
            os.close(file)
            raise InputError(f"{self.folder}: {_holder(holder)}; wait for it, or stop it") from None
        try:
            current = os.stat(self.path).st_ino == os.fstat(file).st_ino
        except FileNotFoundError:
            current = False
        if not current:
            os.close(file)
            return False
        about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "stage": self.stage or self.folder.name,
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        }
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(about).encode(), 0)
        self._file = file
        return True

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self.path.unlink(missing_ok=True)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)
        self._file = None


def _holder(content: bytes) -> str:
    try:
        about = json.loads(content)
    except ValueError:
        return "another process has just taken the lock"
    return "stage {stage} is running (process {pid} on {host} since {started})".format(**about)


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
