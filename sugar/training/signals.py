"""Being asked to stop: finish the step, save, leave with a code that means "start me again"."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType

logger = logging.getLogger(__name__)

EXIT_START_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


class Preempted(SystemExit):
    """Training was asked to stop (SIGTERM, SIGINT) and saved a checkpoint: the same command continues it."""

    def __init__(self, step: int) -> None:
        super().__init__(EXIT_START_AGAIN)
        self.step = step

    def __str__(self) -> str:
        return f"stopped after step {self.step}; start the same command again to continue"


class StopRequest:
    """A context manager that notes SIGTERM and SIGINT; a second SIGINT interrupts at once.

    Outside the main thread it cannot listen, and `asked` stays False.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, object] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        logger.warning("%s: finishing the step, then saving", signal.Signals(number).name)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for which in (signal.SIGTERM, signal.SIGINT):
                self._previous[which] = signal.signal(which, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for which, handler in self._previous.items():
            signal.signal(which, handler)  # type: ignore[arg-type]
