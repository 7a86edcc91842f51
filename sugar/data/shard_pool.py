"""Local driver of a stage that works shard by shard: a pool of processes, progress, and resume.

A shard is a pure function of its number. What is complete and made from the same inputs is kept, the rest is
made again, so that a run which was killed anywhere ends in the same dataset as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from sugar.config import InputError
from sugar.data.atomic import remove_file, remove_temporaries, sha256_bytes
from sugar.data.manifest import merge_manifests, rows_table
from sugar.data.printable import printable
from sugar.data.shard_driver import GroupDone, ShardGroup, current_driver
from sugar.data.shards import is_complete, read_record, record_path, shard_name, write_shard
from sugar.triplet import Triplet

logger = logging.getLogger(__name__)

OnSkip = Callable[[str, str, str], None]
"""Told (name, reason, message) of everything that gives no triplet."""
MakeShard = Callable[[int, OnSkip], Iterable[Triplet]]
"""From the number of a shard to its triplets: pure."""
Prepare = Callable[[], MakeShard]
"""Called once in each worker: loads the networks and gives the function. It must pickle."""

MAX_EXAMPLES = 5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Skips:
    """What gave no triplet: how often for each reason, and a few examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, reason: str, message: str) -> None:
        """Count one; the signature of OnSkip."""
        self.counts[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(printable(message if name in message else f"{name}: {message}"))

    def merge(self, other: dict[str, Any]) -> None:
        """Add what `as_json` of another gave."""
        for reason, entry in other.items():
            self.counts[reason] += entry["count"]
            examples = self.examples.setdefault(reason, [])
            examples += entry["examples"][: MAX_EXAMPLES - len(examples)]

    def as_json(self) -> dict[str, Any]:
        """Reason -> {count, examples}, sorted."""
        return {
            reason: {"count": self.counts[reason], "examples": self.examples[reason]}
            for reason in sorted(self.counts)
        }


@dataclass(frozen=True)
class ShardRun:
    """Rows of all shards in order (a manifest), what was skipped, and what this run had to make."""

    table: pa.Table
    skips: Skips
    num_shards_made: int
    num_triplets_made: int
    seconds: float


def inputs_digest(*parts: Any) -> str:
    """SHA-256 of plain values: what a shard is made from."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return sha256_bytes(text.encode(errors="surrogatepass"))  # a file's name need not be UTF-8


class _Stopped(Exception):
    """Another shard failed or the user interrupted: give up this one."""


def run_shards(
    folder: Path | str,
    inputs_digests: Sequence[str],
    prepare: Prepare,
    *,
    num_workers: int = 1,
    num_expected: int | None = None,
    label: str = "shards",
    passing: str | None = None,
    beside: Callable[[], object] | None = None,
) -> ShardRun:
    """Make every shard of `folder` that is not there yet, shard i from inputs with digest i.

    The caller holds the folder's lock. Shards beyond the last are removed. Within `shard_driver.shards_by` a
    group makes its own shards alone, without a lock (a shard that two make is the same twice), and another
    driver has them made first.

    Args:
        inputs_digests: one a shard; a shard on disk with another digest is made again.
        prepare: see Prepare.
        num_workers: processes; one works in this process.
        num_expected: triplets of the whole dataset, for the progress bar.
        label: what the progress bar is called.
        passing: how the reasons begin of skips that may not happen again, since the input may be whole again
            and its digest the same; a shard with such a skip is made anew in each run.
        beside: called by a worker process after the shards, where what takes long to import is there; must
            pickle. Not called where there are none.

    Raises:
        RuntimeError: a worker process died, or shards were not made elsewhere; what is finished is kept.
        GroupDone: this is a group, and its shards are made.
        ValueError: two shards hold the same key.
        InputError, OSError: as the shard function and `write_shard`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / shard_name(i) for i in range(len(inputs_digests))]
    driver, start, made = current_driver(), time.monotonic(), 0

    def missing() -> list[int]:
        return [i for i, path in enumerate(paths) if not is_complete(path, inputs_digests[i])]

    todo = missing()
    if passing is not None:
        others = sorted(set(range(len(paths))) - set(todo))
        todo = sorted([*todo, *(i for i in others if _may_get_more(paths[i], passing))])
    _tell_damaged(paths[i] for i in todo)
    if isinstance(driver, ShardGroup):
        todo = driver.own(todo)
    else:
        _remove_beyond(folder, len(inputs_digests))
    if todo and callable(driver):
        driver(len(paths))
        remove_temporaries(folder)  # of processes that were killed there
        if left := missing():
            raise RuntimeError(
                f"{folder}: {len(left)} of {len(paths)} shards were not made, the first is "
                f"{shard_name(left[0])}; finished shards are kept"
            )
        todo = []
    if todo:
        others = set(range(len(paths))) - set(todo)
        done = 0 if driver else sum(len(read_record(paths[i])["rows"]) for i in others)
        with tqdm(
            total=num_expected,
            initial=done,
            desc=label,
            unit=" triplets",
            mininterval=0.5 if sys.stderr.isatty() else 10,
            maxinterval=60,
        ) as bar:
            tasks = [(paths[i], i, inputs_digests[i]) for i in todo]
            if min(num_workers, len(todo)) == 1:
                _run_here(tasks, prepare, bar)
            else:
                _run_in_pool(tasks, prepare, min(num_workers, len(todo)), bar, beside)
            made = int(bar.n) - done
    if isinstance(driver, ShardGroup):
        raise GroupDone(len(todo))
    tables, skips = [], Skips()
    for path in paths:
        record = read_record(path)
        # Shard by shard into columns: as Python objects the rows of a large dataset fill the memory.
        tables.append(rows_table(record["rows"], record.get("origin")))
        skips.merge(record["notes"]["skips"])
    return ShardRun(merge_manifests(tables), skips, len(todo), made, time.monotonic() - start)


def _may_get_more(path: Path, passing: str) -> bool:
    return any(reason.startswith(passing) for reason in read_record(path)["notes"]["skips"])


def _tell_damaged(paths: Iterable[Path]) -> None:
    for path in paths:
        if not record_path(path).is_file():
            continue
        try:
            read_record(path)
        except InputError as error:
            logger.warning("%s; the shard is made anew", error)


Task = tuple[Path, int, str]


def _make(task: Task, make: MakeShard, tick: Callable[[], object]) -> None:
    path, index, inputs_digest = task
    skips = Skips()
    notes: dict[str, Any] = {}

    def triplets() -> Iterator[Triplet]:
        for triplet in make(index, skips.add):
            yield triplet
            tick()
        notes["skips"] = skips.as_json()

    write_shard(path, triplets(), inputs_digest=inputs_digest, notes=notes)


def _run_here(tasks: Sequence[Task], prepare: Prepare, bar: tqdm) -> None:
    make = prepare()
    with _one_thread():
        for task in tasks:
            _make(task, make, bar.update)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Numbers of this process as in a worker: the order of a sum depends on the number of threads."""
    import cv2

    torch: Any = sys.modules.get("torch")
    before = cv2.getNumThreads(), torch.get_num_threads() if torch else 1
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])


def _run_in_pool(
    tasks: Sequence[Task],
    prepare: Prepare,
    num_workers: int,
    bar: tqdm,
    beside: Callable[[], object] | None,
) -> None:
    # A forked child of a process with threads (torch, PyAV) can hang: start fresh ones.
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    with (
        _environment(dict.fromkeys(THREAD_VARIABLES, "1")),
        ProcessPoolExecutor(num_workers, context, _start_worker, (prepare, counter, stop)) as pool,
    ):
        pending: set[Future[Any]] = {pool.submit(_work, task) for task in tasks}
        if beside is not None:
            pending.add(pool.submit(beside))
        start = bar.n
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                if new := start + counter.value - bar.n:
                    bar.update(new)
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died while making a shard (out of memory?); finished shards are kept"
            ) from error
        finally:
            stop.set()
            for future in pending:
                future.cancel()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_worker: dict[str, Any] = {}
"""Of a worker process: prepare, tick and, from the first shard on, make."""


def _start_worker(prepare: Prepare, counter: Any, stop: Any) -> None:
    """Runs once in each worker process."""
    import cv2

    threading.Thread(target=_die_with_parent, daemon=True).start()
    cv2.setNumThreads(1)

    def tick() -> None:
        if stop.is_set():
            raise _Stopped
        with counter.get_lock():
            counter.value += 1

    _worker.update(prepare=prepare, tick=tick)


def _die_with_parent() -> None:
    """A killed parent must not leave workers that write into a folder whose lock is free."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(task: Task) -> None:
    if "make" not in _worker:
        # Here and not at the start of the process, so that an error reaches the caller as it is.
        _worker["make"] = _worker["prepare"]()
    _make(task, _worker["make"], _worker["tick"])


def _remove_beyond(folder: Path, num_shards: int) -> None:
    for path in sorted(folder.glob("shard-*.*")):
        match = re.fullmatch(r"shard-(\d{6,})\.(tar|json)", path.name)
        if match and int(match[1]) >= num_shards:
            remove_file(record_path(path))
            remove_file(path)
