"""Two steps of each small encoder on a pool of a few pictures, drawn for it."""

from pathlib import Path

import pytest
import torch

from sugar.foundation import identity, matching, pools
from sugar.foundation.loop import LoopSettings
from sugar.foundation.tokenizer import build_tokenizer

SIZE_PX = 32
SHAPE = {"num_layers": 1, "num_heads": 2, "patch_size": 16}


def settings(steps: int) -> LoopSettings:
    return LoopSettings("tiny", steps, 1e-3, warmup_steps=1, precision="fp32", checkpoint_every=1)


def test_an_identity_encoder_trains_and_a_second_run_is_the_same(identities: pools.Pool, tmp_path: Path):
    def run(name: str) -> tuple[torch.nn.Module, dict[str, float]]:
        return identity.train_dino(
            settings(2),
            identities,
            shape={"hidden_size": 16, **SHAPE},
            batch=4,
            seed=5,
            checkpoint=tmp_path / name,
        )

    (first, figures), (second, _) = run("a"), run("b")
    assert {"loss", "who", "what"} <= figures.keys()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["clip", "clip on scenes", "video_text"])
def test_image_and_video_text_encoders_train(
    kind: str, identities: pools.Pool, clips: pools.Pool, tmp_path: Path
):
    tokenizer = build_tokenizer(32, kind="clip")
    shape = (16, 1, 2, SIZE_PX, 16)
    video = kind == "video_text"
    model = (
        matching.build_video_text(tokenizer, *shape, 4) if video else matching.build_clip(tokenizer, *shape)
    )
    before = {name: value.clone() for name, value in model.named_parameters()}
    figures = matching.train_matching(
        model,
        tokenizer,
        settings(2),
        identities if kind == "clip on scenes" else clips,
        scenes=kind == "clip on scenes",
        batch=4,
        seed=5,
        checkpoint=tmp_path / "state.pt",
        jittered=kind != "clip",
    )
    assert figures["loss"] > 0
    assert any(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    scores = matching.evaluate_matching(model, tokenizer, clips)
    assert ("motion_accuracy" in scores) == video


def test_scenes_of_an_identity_pool_bring_their_own_tags(identities: pools.Pool):
    import numpy as np

    rows = np.array([3, 0, 7])
    frames, tags = matching._scenes_of(identities, rows, np.random.default_rng(1))
    assert frames.shape == (3, 1, SIZE_PX, SIZE_PX, 3)
    assert tags["noun"].tolist() == [3, 0, 7]
    assert (tags["background"] >= 0).all()  # a cut-out has none
