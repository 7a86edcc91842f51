"""Groups of ranks that a test starts and ends, and that nobody waits for in vain.

How long a run takes depends on the machine, so nothing here has a deadline of its own: whoever waits for a
moment waits as long as the run goes on, and a group counts as stuck only when its processes stop working.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sugar.launch import local

STUCK_SECONDS = 300.0
"""Time in which a group that works uses a second of the processor, however busy the machine."""


class Ranks:
    """How the groups of `sugar.launch.local` are started: forked, or by torchrun.

    Args:
        forked: takes the place of `subprocess.Popen`; None: torchrun starts them.
        script: what a rank runs while `interrupted` is set.
    """

    def __init__(self, patch: pytest.MonkeyPatch, forked: Callable[..., Any] | None, script: str) -> None:
        self._start, self._script = forked or subprocess.Popen, script
        self.interrupted = False
        self.leader = 0
        plain = local._Group._command
        patch.setattr(local._Group, "_command", lambda group: self._changed(plain(group)))
        patch.setattr(local, "subprocess", SimpleNamespace(Popen=self._popen))

    def _changed(self, command: list[str]) -> list[str]:
        return [*command[:-4], self._script, *command[-2:]] if self.interrupted else command

    def _popen(self, command: Sequence[str], **options: Any) -> Any:
        started = self._start(command, **options)
        self.leader = started.pid
        threading.Thread(target=_end_when_stuck, args=(started.pid,), daemon=True).start()
        return started

    def ranks(self) -> list[int]:
        """The processes of the ranks."""
        return _children(self.leader)

    def kill(self) -> None:
        """End the whole group, as a machine that goes down does."""
        _kill(self.leader)


def _table() -> Mapping[int, tuple[int, float]]:
    """Process -> (its parent, seconds of the processor that it used); zombies are left out."""
    found, tick = {}, os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                values = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if values[0] != "Z":
                    found[int(entry.name)] = int(values[1]), (int(values[11]) + int(values[12])) / tick
    return found


def alive(processes: Sequence[int]) -> bool:
    """Whether any of them has not ended."""
    return not _table().keys().isdisjoint(processes)


def _children(leader: int) -> list[int]:
    return [process for process, (parent, _) in _table().items() if parent == leader]


def _kill(leader: int) -> None:
    for process in (leader, *_children(leader)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _end_when_stuck(leader: int) -> None:
    """Kill a group whose ranks (before there are any: whose leader) use no processor any more."""
    used, since = 0.0, time.monotonic()
    while leader in (table := _table()):
        ranks = [seconds for parent, seconds in table.values() if parent == leader]
        now = sum(ranks) if ranks else table[leader][1]
        if not used <= now < used + 1:
            used, since = now, time.monotonic()
        elif time.monotonic() - since > STUCK_SECONDS:
            _kill(leader)
            return
        time.sleep(1)


@contextlib.contextmanager
def when(condition: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as a condition holds while the body runs; the body must come to that."""
    over, acted = threading.Event(), threading.Event()

    def watch() -> None:
        while not condition():
            if over.wait(0.02):
                return
        act()
        acted.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert acted.is_set(), "the run ended before its moment came"
