"""Killed anywhere and started again: the files are those of a run that was never killed.

The processes are forked and killed before each change of a file, and between two samples; a slow test kills
the real stages, with their pool of workers, at random moments.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shard_stubs
from killing import assert_the_same_wherever_it_is_killed, files, start, step

from sugar.box import Box
from sugar.data.atomic import StageLock
from sugar.data.dataset_report import publish_dataset
from sugar.data.manifest import dataset_digest
from sugar.data.shard_driver import GroupDone, ShardGroup, shards_by
from sugar.data.shard_pool import Skips, run_shards
from sugar.data.shards import is_complete, shard_name, write_shard
from sugar.encoders.segmentation import Segmentation
from sugar.ingest.clips import SpriteClips
from sugar.ingest.dataset import ingest_dataset
from sugar.ingest.shard import IngestRecipe
from sugar.stages import encoding
from sugar.synthesis.dataset import source_dataset, synthesize_dataset
from sugar.synthesis.shard import SynthesisRecipe
from sugar.synthesis.sourcing import sprite_subjects

SIZE = {"seed": 1, "fps": 8, "num_frames": 5, "height_px": 32, "width_px": 32}
NETWORKS = {"networks_digest": "n", "make_cut": lambda: whole_frame, "make_score": lambda: score}


def whole_frame(
    image_rgb: np.ndarray,
    noun: str,
    *,
    prior_HW: np.ndarray | None = None,
    usual_HWC: np.ndarray | None = None,
    box: Box | None = None,
) -> Segmentation:
    mask = np.zeros(image_rgb.shape[:2], np.uint8)
    mask[4:-4, 4:-4] = 255
    return Segmentation(mask, 1.0)


def score(triplets):
    step()
    return [{"flow_px": float(len(triplet.prompt))} for triplet in triplets]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("subjects")
    source_dataset(folder, lambda: sprite_subjects(3, 0, 32), Skips())
    return folder


@pytest.mark.slow
def test_synthesize_over_an_older_and_longer_dataset(subjects, tmp_path):
    def synthesize(folder: Path, seed: int = 1, shard_size: int = 2) -> None:
        recipe = SynthesisRecipe(**SIZE | {"seed": seed}, prompts_per_subject=1)
        with StageLock(folder):
            synthesize_dataset(subjects, folder, recipe, **NETWORKS, shard_size=shard_size)

    number = assert_the_same_wherever_it_is_killed(
        tmp_path, synthesize, before=lambda folder: synthesize(folder, seed=2, shard_size=1)
    )
    assert number > 20


def test_ingest(tmp_path):
    def ingest(folder: Path) -> None:
        clips = SpriteClips(3, 1, 0.5, *[SIZE[k] for k in ("num_frames", "height_px", "width_px", "fps")])
        with StageLock(folder):
            ingest_dataset(folder, clips, IngestRecipe(**SIZE, max_windows=1), **NETWORKS, shard_size=2)

    assert assert_the_same_wherever_it_is_killed(tmp_path, ingest) > 20


class TinyNetworks(encoding.Networks):
    """A digest alone; what they make of a triplet is `tiny_tensors`."""

    def meta(self, num_stills=0):
        return {"networks": self.base, "vae_scaling_factor": 1.0}


def tiny_tensors(triplets):
    import torch

    step()
    return {"mean": torch.tensor([[t.video.mean(), t.seed % 7] for t in triplets])}


def test_encode_over_a_cache_of_other_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "load_encoders", lambda networks, num_stills: tiny_tensors)
    triplets = tmp_path / "triplets"
    publish_dataset(triplets, run_shards(triplets, ["a", "b", "c"], shard_stubs.prepare))

    def encode(folder: Path, base: str = "new") -> None:
        networks = TinyNetworks(base, "", "")
        with StageLock(folder):
            encoding.encode_dataset(
                triplets,
                folder,
                networks,
                made_by="ingest",
                batch_size=2,
                shard_size=4,
                held_out_fraction=0.2,
                num_workers=2,
            )

    assert assert_the_same_wherever_it_is_killed(tmp_path, encode, lambda f: encode(f, "old")) > 10


def test_two_workers_on_the_same_shards_at_once_do_no_harm(tmp_path):
    digests = ["a", "b"]
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    publish_dataset(whole, run_shards(whole, digests, shard_stubs.prepare))

    def work() -> None:
        with shards_by(ShardGroup(0, 1)), pytest.raises(GroupDone):
            run_shards(shared, digests, shard_stubs.prepare_slow)

    workers = [start(work) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    publish_dataset(shared, run_shards(shared, digests, shard_stubs.prepare))
    assert files(shared) == files(whole)


def test_a_shard_that_is_written_once_more_is_complete_all_the_time(tmp_path):
    path = tmp_path / shard_name(0)
    triplets = list(shard_stubs.tiny_shard(0, lambda *skip: None))
    complete: list[bool] = []

    def watched():
        for triplet in triplets:
            complete.append(is_complete(path, "same"))
            yield triplet

    for inputs_digest, expected in (("same", False), ("same", True), ("other", False)):
        complete.clear()
        write_shard(path, watched(), inputs_digest=inputs_digest)
        assert complete == [expected] * len(triplets)


def sugar(stage: str, root: Path, project_root: Path) -> subprocess.Popen:
    settings = ["source.num_subjects=8", "ingest.num_clips=8", "tracking.enabled=false", f"paths.root={root}"]
    for section in ("synthesize", "ingest"):
        settings += [f"{section}.num_workers=2", f"{section}.shard_size=2"]
    settings += ["encode.shard_size=3", "encode.batch_size=2", "validate.min_rows.real=1"]
    settings += ["validate.min_rows.synthetic=1"]
    command = [Path(sys.executable).parent / "sugar", stage, "--profile", "smoke"]
    command += itertools.chain.from_iterable(("--set", setting) for setting in settings)
    return subprocess.Popen(command, cwd=project_root, start_new_session=True)


@pytest.mark.slow
def test_stages_with_their_pools_killed_at_random_moments(tmp_path, project_root):
    """Two kills a stage, at moments drawn from the time that it takes; then the files of the quiet run."""
    draw = random.Random(0)
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    outputs = {"synthesize": ["data/synthetic"], "ingest": ["data/real"], "encode": ["data/latents"]}
    num_killed = 0
    for stage in ("source", "synthesize", "ingest", "validate", "encode"):
        begin = time.monotonic()
        assert sugar(stage, quiet, project_root).wait() == 0
        seconds = time.monotonic() - begin
        for _ in range(2 if stage in outputs else 0):
            process = sugar(stage, killed, project_root)
            try:
                process.wait(draw.uniform(0.3, 0.95) * seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                num_killed += 1
        assert sugar(stage, killed, project_root).wait() == 0
        for name in outputs.get(stage, []):
            assert files(killed / name) == files(quiet / name), stage
    assert num_killed >= 4
    for name in ("data/synthetic", "data/real"):
        assert dataset_digest(killed / name) == dataset_digest(quiet / name)
