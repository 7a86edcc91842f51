"""What is on its way to a store that may be slow or away, so that training never waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
MAX_ITEMS = 200_000


class Outbox:
    """Takes items at once; its own thread writes them, in order and in batches.

    While the store is away the items wait here (`MAX_ITEMS` at most) and are tried again: a warning when it
    goes, a line when it is back. What could not be written when the box closes is counted in an error of the
    log, and not raised: the numbers are in the stage's own files too, and a finished training is worth more
    than its curve.

    Args:
        what: the items are, for the log: "metric points".
        write: writes one batch; called from one thread at a time.
        batch_size: items per call of `write`.
        absent: exceptions of `write` that mean "try again later"; any other ends the thread loudly.
        flush_seconds: how long an item waits for company.
    """

    def __init__(
        self,
        what: str,
        write: Callable[[Sequence[Any]], object],
        batch_size: int,
        absent: tuple[type[Exception], ...],
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._what = what
        self._write = write
        self._batch_size = batch_size
        self._absent = absent
        self._flush_seconds = flush_seconds
        self._items: list[Any] = []
        self._dropped = 0
        self._away = False
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"outbox of {what}", daemon=True)
        self._thread.start()

    def add(self, items: Sequence[Any]) -> None:
        """Queue items; returns at once."""
        with self._lock:
            room = max(0, MAX_ITEMS - len(self._items))
            self._dropped += max(0, len(items) - room)
            self._items.extend(items[:room])
            full = len(self._items) >= self._batch_size
        if full and not self._away:
            self._wake.set()

    def close(self) -> int:
        """Write what is left and return how many items were lost."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        lost = len(self._items) + self._dropped
        if lost:
            logger.error("tracking: %d %s could not be written", lost, self._what)
        return lost

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while True:
            with self._lock:
                batch = self._items[: self._batch_size]
            if not batch:
                return
            try:
                self._write(batch)
            except self._absent as error:
                if not self._away:
                    logger.warning(
                        "tracking: the store is away (%s); %s wait and are sent when it is back",
                        " ".join(str(error).split())[:300],
                        self._what,
                    )
                self._away = True
                return
            if self._away:
                logger.info("tracking: the store is back; what waited of %s is sent", self._what)
            self._away = False
            with self._lock:
                del self._items[: len(batch)]
