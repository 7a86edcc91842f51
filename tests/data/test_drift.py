"""How far a dataset moved, and its earlier version out of DVC."""

import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from sugar.config import InputError
from sugar.data.drift import _kolmogorov_smirnov, drift, previous_manifest
from sugar.data.gate import GateBounds, run_gate
from sugar.data.manifest import manifest_row, rows_table, write_manifest


@pytest.fixture
def rows(make_triplet):
    return [manifest_row(make_triplet(i), "shard-000000.tar", f"{i:064x}") for i in range(12)]


numbers = st.lists(st.floats(-5, 5), min_size=1, max_size=30)


@given(numbers, numbers)
def test_scores_are_compared_by_the_kolmogorov_smirnov_statistic(now, before):
    expected = ks_2samp(now, before, method="asymp").statistic
    assert _kolmogorov_smirnov(np.array(now), np.array(before)) == pytest.approx(expected)


def test_equal_datasets_do_not_differ_and_others_do(rows):
    before = rows_table(rows)
    assert set(drift(before, before).values()) == {0.0}
    changed = [{**row, "noun": "ox", "score_identity": row["score_identity"] + 9} for row in rows]
    changed[0] |= {"accepted": False, "reasons": ["identity 0.50 < 0.60"]}
    found = drift(rows_table(changed), before)
    assert found["noun"] == pytest.approx(1)
    assert found["score_identity"] == 1.0
    assert found["acceptance"] == pytest.approx(1 / 12)
    assert found["score_flow_px"] == 0.0
    assert found["style"] == pytest.approx(0.5 * (abs(5 / 11 - 0.5) + abs(6 / 11 - 0.5)))


def test_textures_are_compared_where_both_have_them(rows):
    wool, ice = (rows_table([row | {"texture": texture} for row in rows]) for texture in ("wool", "ice"))
    assert drift(wool, ice)["texture"] == 1.0
    assert "texture" not in drift(wool, rows_table(rows))


def test_the_gate_names_what_drifted(tmp_path, rows):
    before = rows_table(rows)
    write_manifest(tmp_path, [{**row, "noun": "ox"} for row in rows])
    bounds = GateBounds("synthetic", max_drift=0.25, max_background_share=0.5)
    result = run_gate(tmp_path, bounds, tmp_path / "html", before)
    failures = "\n".join(result.failures)
    assert "drift: expect_column_values_to_be_between(drift, max_value=0.25) by validate.max_drift: 1 of 8" in failures
    assert "of noun, drift 1" in failures
    assert "backgrounds: expect_column_values_to_be_between(share, max_value=0.5)" in failures
    assert result.statistics["drift_noun"] == pytest.approx(1)
    assert len(result.failures) == 2


def test_without_a_repository_there_is_no_earlier_version(tmp_path):
    with pytest.raises(InputError, match=r"validate\.baseline: .* lies in no DVC repository"):
        previous_manifest(tmp_path, "HEAD")


@pytest.mark.slow
def test_the_earlier_version_comes_out_of_dvc(tmp_path, rows):
    from dvc.repo import Repo

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    folder = tmp_path / "data" / "real"
    before = write_manifest(folder, rows)
    repo = Repo.init(str(tmp_path))
    repo.add([str(folder)])
    git("add", ".")
    git("commit", "-m", "first")
    write_manifest(folder, rows[:5])
    repo.close()
    assert previous_manifest(folder, "HEAD").equals(before)
    with pytest.raises(InputError, match=r"no data/real/manifest\.parquet at 'nowhere'"):
        previous_manifest(folder, "nowhere")
