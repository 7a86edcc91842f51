"""Real triplets end to end: any folder of clips in, triplets and counted skips out."""

import csv
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sugar.box import Box
from sugar.config import InputError
from sugar.data.gate import GateBounds, run_gate
from sugar.data.manifest import dataset_digest, read_manifest
from sugar.data.shard_pool import Skips
from sugar.data.shards import read_triplets
from sugar.data.video_io import encode_mp4
from sugar.encoders.segmentation import NoSubject, Segmentation, make_segmenter
from sugar.encoders.weights import Weights
from sugar.ingest.clips import FolderClips, SpriteClips
from sugar.ingest.dataset import ingest_dataset
from sugar.ingest.shard import IngestRecipe, ingest_shard
from sugar.synthesis.nouns import category_of
from sugar.triplet import Triplet

RECIPE = IngestRecipe(seed=1, fps=8, num_frames=5, height_px=32, width_px=32, max_windows=1)


class BrightCut:
    """Bright pixels are the subject; the score is the area, so that one frame is the best."""

    def __call__(
        self,
        image_rgb: np.ndarray,
        noun: str,
        *,
        prior_HW: np.ndarray | None = None,
        usual_HWC: np.ndarray | None = None,
        box: Box | None = None,
    ) -> Segmentation:
        mask = (image_rgb.min(axis=2) > 150).astype(np.uint8) * 255
        if not mask.any():
            raise NoSubject("all dark")
        return Segmentation(mask, float((mask > 0).mean()))


def score(triplets: Sequence[Triplet]) -> list[dict[str, float]]:
    return [{"flow_px": 1.0} for _ in triplets]


def ingest(folder, clips, recipe=RECIPE, **changes):
    arguments = {"make_cut": BrightCut, "make_score": lambda: score, "networks_digest": "n", "shard_size": 4}
    return ingest_dataset(folder, clips, recipe, **(arguments | changes))


def growing_square(num_frames: int = 16, side: int = 48) -> np.ndarray:
    frames = np.full((num_frames, side, side, 3), 30, np.uint8)
    for k in range(num_frames):
        half = 4 + k // 2
        frames[k, side // 2 - half : side // 2 + half, side // 2 - half : side // 2 + half] = 240
    return frames


@pytest.fixture
def folder(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    good = encode_mp4(growing_square(), 8)
    contents = {
        "good.mp4": good,
        "cut.mp4": good[: len(good) // 2],
        "text.mp4": b"these are no frames",
        "empty.mp4": b"",
        "short.mp4": encode_mp4(growing_square(3), 8),
        "dark.mp4": encode_mp4(growing_square() // 4, 8),
        "small.mp4": encode_mp4(growing_square(16, 24), 8),
        "good2.mp4": encode_mp4(growing_square(32), 16),
    }
    rows = ["file,noun,caption"]
    for name, data in contents.items():
        (clips / name).write_bytes(data)
        rows.append(f"{name},square,a growing square {name}")
    (clips / "captions.csv").write_text("\n".join(rows))
    return clips


def test_good_clips_become_triplets_and_bad_ones_are_counted(folder, tmp_path):
    figures = ingest(
        tmp_path / "real", FolderClips(folder, 0, category_of=category_of), replace(RECIPE, max_windows=3)
    )
    table = read_manifest(tmp_path / "real")
    assert [key[:5] + key[-4:] for key in table["key"].to_pylist()] == [
        "good--w00", "good--w01", "good--w02", "good2-w00", "good2-w01", "good2-w02",
    ]  # fmt: skip
    skipped = {name.removeprefix("skipped_"): n for name, n in figures.items() if name.startswith("skipped_")}
    assert skipped == {
        "truncated": 1,
        "not_a_video": 1,
        "empty": 1,
        "too_short": 1,
        "no_subject": 3,
        "too_small": 1,
    }
    for triplet in read_triplets(tmp_path / "real", table):
        assert triplet.source == "real"
        assert triplet.prompt.startswith("a growing square good")
        assert triplet.video.shape == (5, 32, 32, 3)
        solid = triplet.identity[..., 3] > 250
        assert (triplet.identity[solid][:, :3] > 200).all()
        frame = triplet.video[int(triplet.provenance["identity_frame"])]
        # The still and the frame are one view: the same share of both is bright.
        bright = [(picture.min(axis=2) > 150).mean() for picture in (frame, triplet.subject)]
        assert abs(bright[0] - bright[1]) < 0.06


def test_clips_without_a_category_pass_the_gate(folder, tmp_path):
    figures = ingest(tmp_path / "real", FolderClips(folder, 0, category_of=category_of))
    assert set(read_manifest(tmp_path / "real")["category"].to_pylist()) == {"static_object"}
    checked = run_gate(tmp_path / "real", GateBounds("real"), tmp_path / "html")
    assert checked.failures == ()
    assert checked.statistics["rows"] == figures["triplets"]


def test_file_names_of_any_bytes_and_what_is_left_out(tmp_path):
    place, contents = (
        os.fsencode(tmp_path / "clips"),
        [encode_mp4(growing_square(16 + n), 8) for n in range(3)],
    )
    os.mkdir(place)
    for name, data in zip((b"caf\xe9", b"line\nbreak", b"zoo"), contents, strict=True):
        for suffix, content in ((b".mp4", data), (b".txt", b"a square")):
            with open(os.path.join(place, name + suffix), "wb") as file:
                file.write(content)
    for name in (b"g\xfc.jpg", b"b\x1b.doc"):
        with open(os.path.join(place, name), "wb"):
            pass
    clips = FolderClips(tmp_path / "clips", 0, max_clips=2, category_of=category_of)
    figures = ingest(tmp_path / "real", clips)
    assert (figures["triplets"], figures["skipped_not_a_clip"], figures["left_out"]) == (2, 2, 1)
    assert read_manifest(tmp_path / "real")["noun"].to_pylist() == ["caf", "line break"]
    skipped = json.loads((tmp_path / "real" / "report" / "rejections.json").read_bytes())["skipped"]
    assert [one.split(":")[0] for one in skipped["not_a_clip"]["examples"]] == ["b\\x1b.doc", "g\\udcfc.jpg"]


def test_the_best_of_the_random_frames_is_taken():
    triplets = []
    for seed in range(6):
        clips = SpriteClips(1, 0, 0, 5, 32, 32, 8)
        clip = clips.load(0)._replace(content=encode_mp4(growing_square(5), 8), key=f"c{seed}")
        triplets += ingest_shard([clip], replace(RECIPE, seed=seed), BrightCut(), score, Skips().add)
    frames = {int(t.provenance["identity_frame"]) for t in triplets}
    # The best of three of the five frames is never one of the two smallest squares.
    assert frames <= {2, 3, 4}
    assert len(frames) > 1


@pytest.mark.parametrize(
    "bounds, reason",
    [({"min_mask_area": 0.5}, "mask_too_small"), ({"max_mask_area": 0.01}, "mask_too_large")],
)
def test_unbelievable_masks_are_refused(bounds, reason):
    skips = Skips()
    clip = SpriteClips(1, 0, 0, 5, 32, 32, 8).load(0)._replace(content=encode_mp4(growing_square(5), 8))
    assert not list(ingest_shard([clip], replace(RECIPE, **bounds), BrightCut(), score, skips.add))
    assert skips.counts == {reason: 1}


def test_identity_images_of_one_window_come_from_different_times(tmp_path):
    content = encode_mp4(growing_square(24), 8)
    clip = SpriteClips(1, 0, 0, 5, 32, 32, 8).load(0)._replace(content=content, key="c")
    recipe = replace(RECIPE, max_windows=2, num_identities=3)
    triplets = list(ingest_shard([clip], recipe, BrightCut(), score, Skips().add))
    assert [t.key for t in triplets] == [f"c-w{w:02d}-i{i}" for w in (0, 1) for i in (0, 1, 2)]
    for window in (0, 1):
        of_window = triplets[3 * window : 3 * window + 3]
        times = [float(t.provenance["identity_seconds"]) for t in of_window]
        assert len({round(8 * time) for time in times}) == 3
        start = float(of_window[0].provenance["start_seconds"])
        assert start <= times[0] < start + 5 / 8  # the first one from the window itself, as in the paper
        assert not start <= times[1] < start + 5 / 8  # the next one from another stretch of the scene
        assert len({t.video.tobytes() for t in of_window}) == 1
        assert len({t.identity.tobytes() for t in of_window}) == 3


def test_clips_without_a_caption_are_described_or_skipped():
    clip = SpriteClips(1, 0, 0, 5, 32, 32, 8).load(0)
    clip = clip._replace(content=encode_mp4(growing_square(5), 8), caption="", noun="square")
    asked = []

    def describe(frames, noun):
        asked.append((frames.shape, noun))
        return "a square that grows"

    (triplet,) = ingest_shard([clip], RECIPE, BrightCut(), score, Skips().add, describe)
    assert asked == [((5, 32, 32, 3), "square")]
    assert (triplet.prompt, triplet.provenance["caption"]) == ("a square that grows", "model")
    assert triplet.provenance["segmentation"] == "grabcut"
    named = replace(
        RECIPE,
        segmentation="grounded_sam",
        segmentation_networks=(Weights("owner/dino"), Weights("owner/sam")),
        captioner=(Weights("owner/blip"),),
    )
    (triplet,) = ingest_shard([clip], named, BrightCut(), score, Skips().add, describe)
    assert triplet.provenance["caption"] == "model: owner/blip"
    assert triplet.provenance["segmentation"] == "grounded_sam: owner/dino, owner/sam"
    skips = Skips()
    assert not list(ingest_shard([clip], RECIPE, BrightCut(), score, skips.add))
    assert skips.counts == {"no_caption": 1}


def test_the_segmenter_sees_only_the_box_of_a_clip():
    clip = SpriteClips(1, 0, 0, 5, 64, 96, 8).load(0)
    seen = []

    def cut(image, noun, *, prior_HW, usual_HWC):
        seen.append((image.shape[:2], prior_HW.shape))
        return Segmentation(np.full(image.shape[:2], 255, np.uint8), 1.0)

    recipe = replace(RECIPE, height_px=64, width_px=96, max_windows=1)
    (triplet,) = ingest_shard([clip._replace(box=(24, 16, 72, 48))], recipe, cut, score, Skips().add)
    assert seen == [((32, 48), (32, 48))]
    covered = triplet.identity[..., 3] > 0
    np.testing.assert_array_equal(triplet.identity[covered, :3], triplet.subject[16:48, 24:72].reshape(-1, 3))
    skips = Skips()
    assert not list(ingest_shard([clip._replace(box=(24, 16, 97, 48))], recipe, cut, score, skips.add))
    assert skips.counts == {"bad_box": 1}


def test_sprite_world_with_grabcut(tmp_path):
    clips = SpriteClips(6, 3, 0.5, 5, 64, 64, 8)
    recipe = replace(RECIPE, height_px=64, width_px=64)
    figures = ingest(tmp_path / "a", clips, recipe, make_cut=lambda: make_segmenter("grabcut"))
    assert figures["triplets"] >= 4
    table = read_manifest(tmp_path / "a")
    for triplet in read_triplets(tmp_path / "a", table):
        assert triplet.prompt == clips.load(int(triplet.key.split("-")[1])).caption
        assert triplet.motion
        assert triplet.category
    ingest(tmp_path / "b", clips, recipe, make_cut=lambda: make_segmenter("grabcut"))
    assert dataset_digest(tmp_path / "a") == dataset_digest(tmp_path / "b")
    again = ingest(tmp_path / "a", clips, recipe, make_cut=lambda: make_segmenter("grabcut"))
    assert again["shards_made"] == 0


def test_a_folder_of_bad_clips_says_so(tmp_path):
    (tmp_path / "dog.mp4").write_bytes(b"x")
    (tmp_path / "dog.txt").write_text("a dog")
    with pytest.raises(InputError, match=r"at least one triplet, got none; skipped: not_a_video \(1\)"):
        ingest(tmp_path / "real", FolderClips(tmp_path, 0, category_of=category_of))


def test_real_clips_give_triplets(real_data, tmp_path):
    boxes = {"01_dog.mp4": "430 340 900 610", "04_coffee.mp4": "320 0 790 600"}
    (tmp_path / "clips").mkdir()
    with (real_data / "videos" / "captions.csv").open() as table:
        rows = [row | {"box": boxes.get(row["file"], "")} for row in csv.DictReader(table)]
    with (tmp_path / "clips" / "captions.csv").open("w") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        (tmp_path / "clips" / row["file"]).symlink_to(real_data / "videos" / row["file"])
    clips = FolderClips(tmp_path / "clips", 0, category_of=category_of)
    recipe = IngestRecipe(0, 8, 9, 96, 160, 4)
    ingest(tmp_path / "real", clips, recipe, make_cut=lambda: make_segmenter("distinct"))
    found = Counter()
    for triplet in read_triplets(tmp_path / "real", read_manifest(tmp_path / "real")):
        assert triplet.video.shape == (9, 96, 160, 3)
        assert max(triplet.subject.shape) > 400
        found[triplet.noun] += 1
        red, _, blue = triplet.identity[triplet.identity[..., 3] > 127][:, :3].T.astype(int)
        if triplet.noun in ("dog", "kettle"):  # neither the owner's jeans nor the mug
            assert (blue > red + 40).mean() < 0.1
    assert min(found[noun] for noun in ("dog", "cup", "toy block", "kettle")) >= 2


def test_an_unchanged_dataset_is_recognised_without_being_read(folder, tmp_path, monkeypatch):
    from sugar.ingest import dataset

    first = ingest(tmp_path / "real", FolderClips(folder, 0, category_of=category_of), verdict_key="a")
    with monkeypatch.context() as patched:
        patched.setattr(dataset, "run_shards", None)
        again = ingest(tmp_path / "real", FolderClips(folder, 0, category_of=category_of), verdict_key="a")
    of_the_run = {"seconds", "shards_made", "triplets_per_second"}
    assert {n: v for n, v in again.items() if n not in of_the_run} == {
        n: v for n, v in first.items() if n not in of_the_run
    }
    assert again["shards_made"] == 0

    def reject(table):
        return table.set_column(table.column_names.index("accepted"), "accepted", [[False] * table.num_rows])

    other = ingest(
        tmp_path / "real", FolderClips(folder, 0, category_of=category_of), verdict_key="b", judge=reject
    )
    assert other["accepted"] == 0 and other["shards_made"] == 0


def test_an_unchanged_folder_is_not_listed_and_a_touched_one_not_published(folder, tmp_path, monkeypatch):
    from sugar.ingest import clips as clips_module
    from sugar.ingest import dataset

    def again(**changes):
        clips = FolderClips(folder, 0, category_of=category_of, **changes)
        return ingest(tmp_path / "real", clips, verdict_key="a")

    first = again()
    with monkeypatch.context() as patched:
        patched.setattr(clips_module, "list_clips", None)
        assert again()["triplets"] == first["triplets"]
        for changes in ({"max_clips": 1}, {"captioned": False}, {"categories": "other"}):
            with pytest.raises(TypeError, match="not callable"):
                again(**changes)
        os.utime(folder / "good.mp4", ns=(1, 1))
        with pytest.raises(TypeError, match="not callable"):
            again()
    with monkeypatch.context() as patched:
        patched.setattr(dataset, "run_shards", None)
        assert again()["triplets"] == first["triplets"]
        patched.setattr(clips_module, "list_clips", None)
        assert again()["triplets"] == first["triplets"]
    (folder / "good.mp4").unlink()
    assert again()["triplets"] == first["triplets"] - 1


def test_a_clip_that_could_not_be_read_is_tried_again(folder, tmp_path, monkeypatch):
    from sugar.ingest import clips as clips_module

    def again():
        return ingest(tmp_path / "real", FolderClips(folder, 0, category_of=category_of), verdict_key="a")

    with monkeypatch.context() as patched:
        whole = clips_module.sha256_file

        def read(file):
            if file.name == "good.mp4":
                raise PermissionError(13, "Permission denied")
            return whole(file)

        patched.setattr(clips_module, "sha256_file", read)
        assert again()["skipped_unreadable_file"] == 1
    assert "skipped_unreadable_file" not in again()  # other rights change neither size nor time
