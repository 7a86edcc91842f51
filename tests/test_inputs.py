"""What DVC is told of photos and clips: another file where they have changed, the same where not."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
import yaml

from sugar.config import InputError, Params, load_params
from sugar.stages.inputs import KINDS, look


@pytest.fixture
def params(project_root: Path, tmp_path: Path):
    def load(*overrides: str) -> Params:
        return load_params(project_root / "params.yaml", overrides=[f"paths.root={tmp_path}", *overrides])

    return load


def told(params: Params, folder: Path) -> dict[str, str]:
    look(params, folder)
    return {f"{what}/{kind}": (folder / what / kind).read_text() for what in KINDS for kind in KINDS[what]}


def folders_below(place: Path) -> tuple[str, ...]:
    """Overrides that take photos and clips from folders there."""
    photos = ("source.kind=folder", f"source.folder={place / 'photos'}")
    return (*photos, "ingest.kind=folder", f"ingest.folder={place / 'clips'}")


def test_photos_and_clips_that_change(params, tmp_path: Path):
    for name in ("photos/dog/1.png", "clips/1.mp4", "clips/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    both = params(*folders_below(tmp_path))
    first = told(both, tmp_path / "inputs")
    assert told(both, tmp_path / "inputs") == first
    (tmp_path / "photos" / "dog" / "2.png").write_bytes(b"y")
    second = told(both, tmp_path / "inputs")
    assert [name for name in first if first[name] != second[name]] == ["photos/folder"]
    (tmp_path / "clips" / "1.txt").write_bytes(b"a dog")
    third = told(both, tmp_path / "inputs")
    assert [name for name in second if second[name] != third[name]] == ["clips/folder"]
    with pytest.raises(InputError, match="must be an existing folder of clips"):
        look(params("ingest.kind=folder", "ingest.folder=nowhere"), tmp_path / "inputs")


def test_photos_and_clips_with_names_of_any_bytes(params, tmp_path: Path):
    for name in (b"photos/dog/caf\xe9.png", b"clips/caf\xe9.mp4"):
        file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
    both = params(*folders_below(tmp_path))
    first = told(both, tmp_path / "inputs")
    assert told(both, tmp_path / "inputs") == first


def test_a_place_that_cannot_tell_is_asked_every_time(params, tmp_path: Path, monkeypatch):
    system = fsspec.filesystem("memory")
    system.pipe("/tars/x.tar", b"0")
    tars = params("source.kind=webdataset", "source.folder=memory://tars/x.tar")
    assert told(tars, tmp_path) == told(tars, tmp_path)
    monkeypatch.setattr(type(system), "info", lambda self, path: {"name": path, "size": 1, "type": "file"})
    assert told(tars, tmp_path) != told(tars, tmp_path)
    monkeypatch.undo()
    system.rm("/", recursive=True)


def test_each_kind_has_a_file_and_that_of_sprite_world_is_kept_in_git(project_root: Path, params):
    chain = yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]
    (stage,) = yaml.safe_load((project_root / "inputs" / "dvc.yaml").read_text())["stages"].values()
    made = {path for entry in stage["outs"] for path in entry}
    assert made == {f"inputs/{what}/{kind}" for what, kinds in KINDS.items() for kind in kinds}
    for name, what in (("source", "photos"), ("ingest", "clips")):
        assert f"inputs/{what}/${{{name}.kind}}" in chain[name]["deps"]
        assert (project_root / "inputs" / what / "sprites").is_file()
        for kind in KINDS[what]:
            params(f"{name}.kind={kind}", f"{name}.folder=x")
