"""Shards made in processes: the same bytes however it went, and nothing complete is made twice."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shard_stubs

from sugar.config import InputError
from sugar.data.atomic import remove_temporaries, sha256_file
from sugar.data.code_digest import code_digest
from sugar.data.dataset_report import publish_dataset
from sugar.data.manifest import dataset_digest
from sugar.data.shard_pool import Skips, inputs_digest, run_shards
from sugar.data.shards import shard_name

DIGESTS = [inputs_digest("v1", i) for i in range(3)]
TESTS = Path(__file__).parents[1]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.glob("shard-*"))}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    publish_dataset(folder, run_shards(folder, DIGESTS, shard_stubs.prepare))
    return folder


def test_all_rows_and_skips_in_order(tmp_path):
    run = run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    assert run.table["key"].to_pylist() == [f"s{i}-t{n}" for i in range(3) for n in range(3)]
    assert run.skips.as_json() == {
        "broken": {"count": 3, "examples": [f"bad-{i}: is broken" for i in range(3)]}
    }
    assert (run.num_shards_made, run.num_triplets_made) == (3, 9)


def test_what_is_complete_is_not_made_again(tmp_path):
    run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    changed = [DIGESTS[0], inputs_digest("other"), DIGESTS[2]]
    run = run_shards(tmp_path, changed, shard_stubs.prepare)
    made = {path.name for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert made == {"shard-000001.tar", "shard-000001.json"}
    assert (run.num_shards_made, run.num_triplets_made, run.table.num_rows) == (1, 3, 9)
    assert run_shards(tmp_path, changed, shard_stubs.prepare).num_shards_made == 0


def test_a_shard_whose_record_is_damaged_is_made_anew(tmp_path, reference, caplog):
    run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    for old, new in ((b'"noun": "dog"', b'"noun": "dof"'), (b'"rows"', b'"rovs"'), (b'"num_bytes"', b'"num_bytez"')):
        record = tmp_path / "shard-000001.json"
        record.write_bytes(record.read_bytes().replace(old, new, 1))
        caplog.clear()
        run = run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
        assert "shard-000001.json: is not what was written" in caplog.text
        assert (run.num_shards_made, set(run.table["noun"].to_pylist())) == (1, {"dog"})
        assert contents(tmp_path) == contents(reference)


def test_shards_of_a_longer_run_are_removed(tmp_path):
    run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    run_shards(tmp_path, DIGESTS[:1], shard_stubs.prepare)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-000000.json", "shard-000000.tar"]


def test_processes_give_the_same_bytes(tmp_path, reference):
    run = run_shards(tmp_path, DIGESTS, shard_stubs.prepare, num_workers=2, num_expected=9)
    assert contents(tmp_path) == contents(reference)
    assert run.num_triplets_made == 9
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] != ""


def test_a_worker_does_what_is_to_be_done_beside_the_shards(tmp_path):
    note = tmp_path / "pid"
    beside = functools.partial(shard_stubs.note_process, note)
    run_shards(tmp_path / "a", DIGESTS, shard_stubs.prepare, num_workers=2, beside=beside)
    assert int(note.read_text()) != os.getpid()
    note.unlink()
    run_shards(tmp_path / "a", DIGESTS, shard_stubs.prepare, num_workers=2, beside=beside)
    assert not note.exists(), "there were no shards to make"


def test_an_error_in_a_worker_arrives_and_keeps_what_is_finished(tmp_path, reference):
    with pytest.raises(InputError, match=r"networks\.dino must be a folder"):
        run_shards(tmp_path, DIGESTS[:2], shard_stubs.prepare_with_error, num_workers=2)
    assert not (tmp_path / shard_name(1)).exists()
    assert not list(tmp_path.glob(".*"))
    run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    assert contents(tmp_path) == contents(reference)


def test_a_worker_that_dies_is_reported(tmp_path):
    with pytest.raises(RuntimeError, match="worker process died"):
        run_shards(tmp_path, DIGESTS[:2], shard_stubs.prepare_with_death, num_workers=2)


def test_killed_and_started_again_gives_the_same_dataset(tmp_path, reference):
    script = (
        f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]\n"
        "import shard_stubs\n"
        "from sugar.data.shard_pool import run_shards\n"
        f"run_shards({str(tmp_path)!r}, {DIGESTS!r}, shard_stubs.prepare_slow)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "shard-000000.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    # In the middle of the second shard.
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "shard-000002.json").exists()
    remove_temporaries(tmp_path)
    run = run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    assert run.num_shards_made < 3
    publish_dataset(tmp_path, run)
    assert contents(tmp_path) == contents(reference)
    assert dataset_digest(tmp_path) == dataset_digest(reference)


def test_no_triplet_at_all_says_why(tmp_path):
    def nothing(index, on_skip):
        on_skip("clip-1", "truncated", "clip-1: ends early")
        return iter(())

    run = run_shards(tmp_path, DIGESTS, lambda: nothing)
    with pytest.raises(InputError, match=r"at least one triplet, got none; skipped: truncated \(3\)"):
        publish_dataset(tmp_path, run)


def test_report_names_every_reason(tmp_path):
    def judge(table):
        import pyarrow as pa

        reasons = [["flow_px 0.1 < 0.5"], ["flow_px 9 > 8", "identity is missing"]]
        reasons += [[]] * (table.num_rows - 2)
        table = table.set_column(
            table.column_names.index("accepted"), "accepted", pa.array([not reason for reason in reasons])
        )
        kind = pa.list_(pa.string())
        return table.set_column(table.column_names.index("reasons"), "reasons", pa.array(reasons, kind))

    run = run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
    figures = publish_dataset(tmp_path, run, judge, report=tmp_path / "report")
    assert (figures["triplets"], figures["accepted"], figures["rejected"]) == (9, 7, 2)
    assert figures["rejected_flow_px_low"] == figures["rejected_flow_px_high"] == 1
    assert figures["rejected_identity_missing"] == 1
    assert figures["skipped_broken"] == 3
    assert figures["triplets_per_second"] > 0
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        "contact_sheet.png",
        "rejected-flow_px_low.png",
        "rejected-flow_px_high.png",
        "rejected-identity_missing.png",
        "rejections.json",
        "filters.html",
        "histograms.json",
    }
    counted = json.loads((tmp_path / "report" / "rejections.json").read_text())
    assert counted["rejected"]["flow_px_low"] == {"count": 1, "examples": ["s0-t0"]}
    assert counted["skipped"]["broken"]["count"] == 3
    # Another verdict on the same shards: nothing is made, sheets of old reasons go away.
    figures = publish_dataset(
        tmp_path, run_shards(tmp_path, DIGESTS, shard_stubs.prepare), report=tmp_path / "report"
    )
    assert (figures["accepted"], figures["shards_made"]) == (9, 0)
    assert not list((tmp_path / "report").glob("rejected-*.png"))


def test_the_digest_of_code_follows_its_files(tmp_path, monkeypatch):
    package = tmp_path / "painting"
    (package / "brushes").mkdir(parents=True)
    for name in ("__init__.py", "oil.py", "brushes/__init__.py", "brushes/flat.py"):
        (package / name).write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    whole, part = code_digest(["painting"]), code_digest(["painting.oil"])
    assert code_digest(["painting"]) == whole
    (package / "brushes" / "flat.py").write_text("x = 2\n")
    assert code_digest(["painting"]) != whole
    whole = code_digest(["painting"])
    (package / "brushes" / "sizes.csv").write_text("px\n3\n")
    assert code_digest(["painting"]) != whole
    assert code_digest(["painting.oil"]) == part
    with pytest.raises(ModuleNotFoundError, match="painting"):
        code_digest(["painting.water"])


def test_names_that_are_not_utf8_have_a_digest_and_can_be_written():
    assert inputs_digest("caf\udce9") != inputs_digest("caf\udce8")
    assert inputs_digest("é") == inputs_digest("é")
    skips = Skips()
    skips.add("caf\udce9.mp4", "empty", "caf\udce9.mp4: the file\nis empty")
    (example,) = skips.as_json()["empty"]["examples"]
    assert example.encode() == b"caf\\udce9.mp4: the file\\nis empty"
