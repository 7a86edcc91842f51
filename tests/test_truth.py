"""The labelled clips beside a report: scored once, and again where the file is not what was written."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sugar.config import load_params
from sugar.data.verdicts import Labelled
from sugar.stages import truth

TABLE = pa.table({"score_identity": [0.25, 0.5, 0.75], "good": [True, True, False]})


def test_a_file_that_is_damaged_is_made_anew(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    params, made = load_params(project_root / "params.yaml"), []
    monkeypatch.setattr(truth, "networks_digest", lambda _: "networks")
    monkeypatch.setattr(
        truth, "scored_sprites", lambda _, num: made.append(num) or Labelled(TABLE, "three clips")
    )

    def remembered() -> tuple[list[dict], str]:
        labelled = truth._remembered(params, tmp_path, 3)
        return labelled.table.to_pylist(), labelled.about

    expected = (TABLE.to_pylist(), "three clips")
    assert [remembered(), remembered()] == [expected] * 2
    assert made == [3]
    file = tmp_path / truth.SCORED
    data = file.read_bytes()
    for bit in [*range(32, 64), *np.random.default_rng(0).integers(0, 8 * len(data), 300).tolist()]:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        assert remembered() == expected
    assert len(made) > 50
    assert "is not what was written" in caplog.text
    made.clear()
    file.write_bytes(data)
    assert remembered() == expected and made == []
    file.write_bytes(b"")
    assert remembered() == expected
    assert file.read_bytes() == data
