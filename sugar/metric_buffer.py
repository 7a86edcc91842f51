"""Metric points on their way to a store that may be slow or away, so that training never waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
MAX_POINTS = 200_000


class MetricBuffer:
    """Takes points at once; its own thread writes them in batches.

    While the store is away the points wait here (`MAX_POINTS` at most) and are tried again. What could
    not be written when the buffer closes is counted in an error of the log, and not raised: the same
    numbers are in the stage's own files, and a finished training is worth more than its curve.

    Args:
        write: writes one batch of points; called from one thread at a time.
        batch_size: points per call of `write`.
        absent: exceptions of `write` that mean "try again later"; any other ends the thread loudly.
        flush_seconds: how long a point waits for company.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Any]], object],
        batch_size: int,
        absent: tuple[type[Exception], ...],
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._write = write
        self._batch_size = batch_size
        self._absent = absent
        self._flush_seconds = flush_seconds
        self._points: list[Any] = []
        self._dropped = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="metric-buffer", daemon=True)
        self._thread.start()

    def add(self, points: Sequence[Any]) -> None:
        """Queue points; returns at once."""
        with self._lock:
            room = max(0, MAX_POINTS - len(self._points))
            self._dropped += max(0, len(points) - room)
            self._points.extend(points[:room])
            full = len(self._points) >= self._batch_size
        if full:
            self._wake.set()

    def close(self) -> int:
        """Write what is left and return how many points were lost."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        lost = len(self._points) + self._dropped
        if lost:
            logger.error("tracking: %d metric points could not be written", lost)
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
                batch = self._points[: self._batch_size]
            if not batch:
                return
            try:
                self._write(batch)
            except self._absent as error:
                logger.warning("tracking: %d metric points wait; the store said: %s", len(batch), error)
                return
            with self._lock:
                del self._points[: len(batch)]
