"""Processes that are killed at a chosen change of the disk, or in the middle of their work."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

STEP = "killing.step"
"""Audit event that a test raises where work happens in memory: `sys.audit(STEP)`."""
MAX_SECONDS = 60


def step() -> None:
    """A place inside the work at which a process may be killed."""
    sys.audit(STEP)


def killed_at(number: int, run: Callable[[], object], folder: Path) -> bool:
    """Run in a child that is killed (SIGKILL) before its `number`-th step; False: it ended before that.

    Steps are what it does to files below `folder` (open to write, rename, remove) and `step`.
    """
    child = start(lambda: (_kill_before(number, folder), run()))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the child ended with {status}"
    return status != 0


def start(run: Callable[[], object]) -> int:
    """Run in a forked child; returns its process id. It exits with 0, or with 1 after an exception."""
    import cv2

    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(MAX_SECONDS)
        # The threads of the parent's pools are not in the child.
        cv2.setNumThreads(1)
        run()
        os._exit(0)
    except BaseException:  # noqa: BLE001 (a child must not return into pytest)
        traceback.print_exc()
        os._exit(1)


def _kill_before(number: int, folder: Path) -> None:
    inside, left = f"{folder}{os.sep}", number

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in ("os.rename", "os.remove"):
            counts = str(arguments[0]).startswith(inside)
        elif event == "open":
            path, mode, flags = arguments
            writes = (
                flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if mode is None else set(mode) & set("wax+")
            )
            counts = bool(writes) and str(path).startswith(inside)
        else:
            counts = event == STEP
        if counts:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: name -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_the_same_wherever_it_is_killed(
    tmp_path: Path, run: Callable[[Path], object], before: Callable[[Path], object] | None = None
) -> int:
    """Kill `run(folder)` before each of its steps in turn, start it again: the same files as never killed.

    Args:
        run: holds the folder's lock while it works, as a stage does.
        before: makes an older state of the folder.

    Returns:
        In how many places it was killed.
    """
    reference = tmp_path / "reference"
    if before:
        before(reference)
    run(reference)
    expected = files(reference)
    number = 0
    while True:
        folder = tmp_path / f"killed-{number}" / "data"
        folder.mkdir(parents=True)
        if before:
            before(folder)
        killed = killed_at(number, lambda folder=folder: run(folder), folder)
        run(folder)
        found = files(folder)
        wrong = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
        assert not wrong, f"killed before step {number}"
        if not killed:
            return number
        number += 1
