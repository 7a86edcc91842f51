"""From params.yaml to clips and recipe: a folder's clips, and the networks that the record names."""

from pathlib import Path

import pytest

from sugar.config import load_params
from sugar.ingest import dataset
from sugar.stages import run_stage


class Asked(Exception):
    """Clips and recipe that a stage asks for."""


@pytest.fixture
def asked(project_root: Path, tmp_path: Path, monkeypatch):
    """Clips and recipe of `sugar ingest` with some overrides, for a folder of one clip without a caption."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "red_car_01.mp4").write_bytes(b"x")

    def stop(_, clips, recipe, **__):
        raise Asked(clips, recipe)

    def ask(*overrides: str):
        given = ("ingest.kind=folder", f"ingest.folder={folder}", *overrides)
        given = (*given, f"paths.root={tmp_path}", "tracking.enabled=false")
        with pytest.raises(Asked) as found:
            run_stage("ingest", load_params(project_root / "params.yaml", [], given))
        return found.value.args

    monkeypatch.setattr(dataset, "ingest_dataset", stop)
    return ask


def test_a_folders_clips_and_the_networks_of_the_record(asked, monkeypatch):
    monkeypatch.setattr("sugar.stages.fingerprints.hub_commit", lambda source: "0" * 40)
    clips, recipe = asked("networks.captioner=owner/blip")
    (clip,) = map(clips.load, range(len(clips)))
    assert (clip.noun, clip.category, clip.caption) == ("red car", "active_object", "")
    assert (recipe.segmentation, recipe.segmentation_networks) == ("distinct", ())
    assert [str(network) for network in recipe.captioner] == ["owner/blip"]
    _, recipe = asked(
        "networks.captioner=owner/blip",
        "networks.segmentation={kind: grounded_sam, detector: owner/dino, segmenter: owner/sam}",
    )
    assert [str(network) for network in recipe.segmentation_networks] == ["owner/dino", "owner/sam"]
