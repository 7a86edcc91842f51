"""Checkpoints are whole or not there, and fit any number of ranks."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest
import torch

from sugar.config import InputError
from sugar.training import checkpoint as checkpoint_module
from sugar.training.checkpoint import CheckpointStore, DamagedCheckpoint, State, check_files, export_weights
from sugar.training.engine import Fragment

SHAPES = {"a": (3, 4), "b": (5,), "c": (2, 2, 2)}


def _values() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def _dealt(ranks: int) -> list[tuple[list[Fragment], list[torch.Tensor]]]:
    """The parameters laid out one after another and cut into `ranks` pieces, as ZeRO-1 does."""
    values = _values()
    line = torch.cat([v.flatten() for v in values.values()])
    size = -(-len(line) // ranks)
    dealt = []
    for rank in range(ranks):
        low, high = rank * size, min((rank + 1) * size, len(line))
        fragments, begin = [], 0
        for name, value in values.items():
            first, last = max(low, begin), min(high, begin + value.numel())
            if first < last:
                fragments.append(Fragment(name, SHAPES[name], first - begin, last - first, 0, first - low))
            begin += value.numel()
        flat = torch.zeros(size)
        flat[: high - low] = line[low:high]
        dealt.append((fragments, [flat]))
    return dealt


def _save(folder: Path, step: int, ranks: int = 1, keep: int = 2, record: dict | None = None) -> None:
    def export(target: Path, tensors) -> None:
        export_weights(target, "{}", tensors)

    stores = [
        CheckpointStore(folder, keep=keep, rank=r, world_size=ranks, export=export) for r in range(ranks)
    ]
    for store, (fragments, flats) in reversed(list(zip(stores, _dealt(ranks), strict=True))):
        store.save(
            step, fragments, {"master": flats, "ema": [f * 2 for f in flats]}, record or {"step": step}
        )
    for store in stores:
        store.wait()


@pytest.mark.parametrize("wrote", [1, 2, 3])
@pytest.mark.parametrize("reads", [1, 2, 4])
def test_any_number_of_ranks_reads_what_any_other_wrote(tmp_path, wrote, reads) -> None:
    _save(tmp_path, 7, ranks=wrote)
    state = State(tmp_path / "step-00000007")
    for fragments, flats in _dealt(reads):
        loaded = [torch.full_like(flat, torch.nan) for flat in flats]
        for fragment in fragments:
            state.copy_into("master", fragment.name, fragment.start, fragment.of(loaded))
            assert torch.equal(fragment.of(loaded), fragment.of(flats))


def test_weights_are_exported_beside_the_state(tmp_path) -> None:
    _save(tmp_path, 7, ranks=2)
    for folder, factor in (("transformer_raw", 1), ("transformer", 2)):
        found = dict(checkpoint_module.read_weights(tmp_path / "step-00000007" / folder))
        for name, value in _values().items():
            assert torch.equal(found[name], value * factor)


def test_a_missing_piece_is_noticed(tmp_path) -> None:
    _save(tmp_path, 7)
    state = State(tmp_path / "step-00000007")
    with pytest.raises(DamagedCheckpoint, match="ema of unknown: 0 of 3"):
        state.copy_into("ema", "unknown", 0, torch.empty(3))


def test_old_ones_go_when_the_new_one_is_complete(tmp_path) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step)
    assert CheckpointStore(tmp_path).steps() == [2, 3]


def _damage(kind: str, file: Path) -> None:
    content = file.read_bytes()
    if kind == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif kind == "altered":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()


@pytest.mark.parametrize("kind", ["truncated", "altered", "missing"])
@pytest.mark.parametrize("file", ["state-00000-of-00001.safetensors", "record.json", "manifest.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, kind, file, caplog) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    _damage(kind, tmp_path / "step-00000002" / file)
    if (kind, file) == ("altered", "manifest.json"):
        (tmp_path / "step-00000002" / file).write_text('{"format": 0}')
    found = CheckpointStore(tmp_path).newest()
    assert found is not None
    assert found[0] == 1
    assert "step-00000002 is damaged" in caplog.text


def test_when_all_are_damaged_nothing_begins_silently(tmp_path) -> None:
    _save(tmp_path, 1)
    _damage("truncated", tmp_path / "step-00000001" / "state-00000-of-00001.safetensors")
    with pytest.raises(InputError, match=r"no checkpoint is intact \(step-00000001: .* bytes, not"):
        CheckpointStore(tmp_path).newest()


def test_nothing_there_is_no_error(tmp_path) -> None:
    assert CheckpointStore(tmp_path / "none").newest() is None


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path, monkeypatch) -> None:
    """Whatever file the writer was at, the folder has no name that counts, and the next start tidies it."""
    _save(tmp_path, 1)
    writes = 0

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    for name in ("write_state", "write_json_atomic", "sha256_file", "_flush_folder"):
        if name == "_flush_folder":
            continue
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module, name, killed)
            patch.setattr(checkpoint_module.shutil, "rmtree", lambda *_, **__: None)
            store = CheckpointStore(tmp_path)
            fragments, flats = _dealt(1)[0]
            store.save(2, fragments, {"master": flats}, {})
            with pytest.raises(SystemExit):
                store.wait()
        writes += 1
        assert CheckpointStore(tmp_path).steps() == [1]
    assert writes == 3
    CheckpointStore(tmp_path).remove_unfinished()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("at", ["save_file", "write_json_atomic", "export"])
def test_a_full_disk_at_any_file_costs_the_new_checkpoint_alone(tmp_path, monkeypatch, at) -> None:
    _save(tmp_path, 1)
    store = CheckpointStore(tmp_path, export=_no_space if at == "export" else None)
    if at != "export":
        monkeypatch.setattr(checkpoint_module, at, _no_space)
    fragments, flats = _dealt(1)[0]
    store.save(2, fragments, {"master": flats, "ema": flats}, {"step": 2})
    with pytest.raises(OSError, match="No space left"):
        store.wait()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    check_files(tmp_path / "step-00000001")


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_way_out_does_not_wait_for_a_rank_that_is_gone(tmp_path) -> None:
    store = CheckpointStore(tmp_path, rank=0, world_size=2)
    fragments, flats = _dealt(2)[0]
    store.save(1, fragments, {"master": flats}, {})
    store.close()
    assert store.steps() == []
    with pytest.raises(OSError, match="rank 1 has not written its state"):
        store.check()


def test_weights_are_exported_by_the_writer_while_training_goes_on(tmp_path) -> None:
    going_on, exporting = threading.Event(), []

    def export(folder: Path, tensors) -> None:
        assert going_on.wait(5)
        exporting.append(threading.current_thread())

    store = CheckpointStore(tmp_path, export=export)
    fragments, flats = _dealt(1)[0]
    store.save(1, fragments, {"master": flats, "ema": flats}, {})
    assert store.steps() == []
    going_on.set()
    store.wait()
    assert store.steps() == [1]
    assert [thread.name for thread in exporting] == ["checkpoint", "checkpoint"]


def test_saving_does_not_see_later_changes_of_the_tensors(tmp_path, monkeypatch) -> None:
    gate = threading.Event()
    original = checkpoint_module.save_file
    monkeypatch.setattr(checkpoint_module, "save_file", lambda *a, **k: (gate.wait(5), original(*a, **k)))
    fragments, flats = _dealt(1)[0]
    expected = flats[0].clone()
    store = CheckpointStore(tmp_path)
    store.save(1, fragments, {"master": flats}, {})
    flats[0].zero_()
    gate.set()
    store.wait()
    stored = State(tmp_path / "step-00000001").whole("master")
    assert torch.equal(torch.cat([t.flatten() for t in stored.values()]), expected)


def test_the_manifest_names_every_file(tmp_path) -> None:
    _save(tmp_path, 1, ranks=2)
    folder = tmp_path / "step-00000001"
    manifest = json.loads((folder / "manifest.json").read_text())
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == there
