"""Each network's loss and step on pretended CUDA tensors: a sum over tensors of two devices is an error.

Runs without a GPU, but takes a torch that is built for one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sugar.foundation import base, identity, matching, pools, vae
from sugar.foundation.loop import Ema, LoopSettings, _each
from sugar.foundation.optimizer import BatchedMuon, MuonAdamW
from sugar.foundation.tokenizer import build_tokenizer

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs torch built with CUDA")
SIZE_PX = 32
CUDA = torch.device("cuda:0")


class Checked(Exception):
    """The loss was computed."""


@pytest.fixture(autouse=True)
def pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop moves a module and its first batches to a pretended GPU and computes the losses there."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)

    def check(
        module: torch.nn.Module,
        draw: Callable[[int], Any],
        loss: Any,
        settings: LoopSettings,
        *_: Any,
        **__: Any,
    ) -> None:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            for part in module.modules():
                for name, value in part._parameters.items():
                    if value is not None:
                        part._parameters[name] = torch.nn.Parameter(mode.from_tensor(value.data).to(CUDA))
                for name, value in part._buffers.items():
                    if value is not None:
                        part._buffers[name] = mode.from_tensor(value).to(CUDA)
            optimizer = MuonAdamW(module, 1e-3, 0.01)
            ema = Ema(module.parameters(), 0.99)
        assert any(isinstance(one, BatchedMuon) for one in optimizer.optimizers)
        for step in range(settings.steps):
            batch = draw(step)
            with mode, torch.autocast("cuda", dtype=torch.bfloat16):
                losses = loss(_each(lambda value: mode.from_tensor(value).to(CUDA), batch), step)
            assert {value.device.type for value in losses.values()} == {"cuda"}
            with mode:
                for parameter in module.parameters():  # a backward pass takes a real GPU
                    parameter.grad = torch.zeros_like(parameter)
                torch.nn.utils.clip_grad_norm_(list(module.parameters()), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                ema.update(step)
        raise Checked

    for part in (identity, matching, base, vae):
        monkeypatch.setattr(part, "train_network", check)


def settings(steps: int = 1) -> LoopSettings:
    return LoopSettings("pretended", steps, 1e-3, device=CUDA)


@pytest.mark.parametrize("jittered", [True, False])
def test_identity(jittered: bool, identities: pools.Pool, tmp_path: Path):
    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "patch_size": 16}
    with pytest.raises(Checked):
        identity.train_dino(
            settings(),
            identities,
            shape=shape,
            batch=4,
            seed=5,
            checkpoint=tmp_path / "state.pt",
            jittered=jittered,
        )


@pytest.mark.parametrize("kind", ["clip", "clip on scenes", "video_text"])
def test_matching(kind: str, identities: pools.Pool, clips: pools.Pool, tmp_path: Path):
    tokenizer = build_tokenizer(32, kind="clip")
    shape = (16, 1, 2, SIZE_PX, 16)
    video = kind == "video_text"
    model = (
        matching.build_video_text(tokenizer, *shape, 4) if video else matching.build_clip(tokenizer, *shape)
    )
    with pytest.raises(Checked):
        matching.train_matching(
            model,
            tokenizer,
            settings(),
            identities if kind == "clip on scenes" else clips,
            scenes=kind == "clip on scenes",
            batch=4,
            seed=5,
            checkpoint=tmp_path / "state.pt",
        )


def test_vae_on_images_crops_and_clips(clips: pools.Pool, tmp_path: Path):
    with pytest.raises(Checked):
        vae.train_vae(
            settings(3),
            clips,
            block_out_channels=(8, 8, 16),
            latent_channels=4,
            image_steps=1,
            crop_steps=2,
            crop_px=16,
            image_batch=3,
            crop_batch=2,
            clip_batch=1,
            kl_weight=1e-5,
            seed=5,
            checkpoint=tmp_path / "state.pt",
        )


def test_base(clips: pools.Pool, tmp_path: Path):
    network = vae.build_vae((8, 8, 16), 4, SIZE_PX, SIZE_PX)
    latents = np.zeros((6, 2, 3, 4, 8, 8), np.float16)
    with pytest.raises(Checked):
        base.train_base(
            settings(),
            clips,
            latents,
            network,
            build_tokenizer(32, kind="t5"),
            shape={
                "num_layers": 1,
                "num_heads": 2,
                "head_dim": 16,
                "time_width": 16,
                "text_length": 32,
                "patch_size": 2,
            },
            text_shape={"width": 32, "num_layers": 1, "num_heads": 2},
            batch=4,
            text_drop=0.5,
            snr_shift=4.0,
            seed=5,
            checkpoint=tmp_path / "state.pt",
        )
