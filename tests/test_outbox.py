"""Points arrive complete and in order, whatever the store does."""

from __future__ import annotations

import threading

from sugar.outbox import Outbox


def test_points_arrive_in_order_and_in_batches():
    written: list[list[int]] = []
    buffer = Outbox("points", lambda batch: written.append(list(batch)), batch_size=10, absent=(OSError,))
    for start in range(0, 95, 5):
        buffer.add(range(start, start + 5))
    assert buffer.close() == 0
    assert [point for batch in written for point in batch] == list(range(95))
    assert max(len(batch) for batch in written) <= 10


def test_adding_does_not_wait_for_a_store_that_hangs():
    release = threading.Event()
    buffer = Outbox(
        "points", lambda batch: release.wait(20), batch_size=1, absent=(OSError,), flush_seconds=0.01
    )
    for i in range(1000):
        buffer.add([i])
    release.set()
    assert buffer.close() == 0


def test_a_store_that_comes_back_gets_everything(caplog):
    written: list[int] = []
    refusals = iter([True, True])

    def write(batch):
        if next(refusals, False):
            raise OSError("no route to host")
        written.extend(batch)

    buffer = Outbox("points", write, batch_size=4, absent=(OSError,), flush_seconds=0.01)
    buffer.add(range(6))
    while not written:
        buffer.add([])
        threading.Event().wait(0.01)
    assert buffer.close() == 0
    assert written == list(range(6))
    assert caplog.text.count("the store is away (no route to host)") == 1


def test_what_is_lost_is_said(caplog):
    def write(batch):
        raise OSError("gone")

    buffer = Outbox("points", write, batch_size=4, absent=(OSError,), flush_seconds=60)
    buffer.add([1, 2, 3])
    assert buffer.close() == 3
    assert "3 points could not be written" in caplog.text
