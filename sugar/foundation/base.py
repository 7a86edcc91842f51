"""The small text-to-video model: T5 encoder and `CogVideoXTransformer3DModel`, trained together.

Objective: v-prediction MSE with CogVideoX's noise schedule. The text is dropped for a part of the samples,
half of the drops by the empty prompt and half by zeros after the text projection, so that both ways of
saying "no text" are known to the base model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from sugar.config import InputError
from sugar.encoders.vae import encode_posterior, num_latent_frames, spatial_ratio, temporal_ratio
from sugar.foundation.loop import LoopSettings, train_network
from sugar.foundation.pools import BACKGROUND_NAMES, MOTION_NAMES, NOUN_NAMES, STYLE_NAMES, Pool, pick
from sugar.foundation.tokenizer import EXTRA_NOUNS
from sugar.sprites import caption

COLOUR_SHARE = 0.3
NEW_NOUN_SHARE = 0.06


def build_scheduler(snr_shift: float) -> Any:
    """CogVideoX's schedule: v-prediction, rescaled to zero terminal SNR, trailing timesteps.

    The signal-to-noise ratio is divided by `snr_shift` at every timestep (3 in CogVideoX-2b, 1 in 5b).
    """
    from diffusers import CogVideoXDDIMScheduler

    return CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        snr_shift_scale=snr_shift,
        clip_sample=False,
        set_alpha_to_one=True,
    )


def build_text_encoder(vocab_size: int, width: int, num_layers: int, num_heads: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocab_size,
            d_model=width,
            d_kv=width // num_heads,
            d_ff=3 * width,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def build_transformer(
    *,
    vae: Any,
    num_frames: int,
    height_px: int,
    width_px: int,
    num_heads: int,
    head_dim: int,
    num_layers: int,
    time_width: int,
    text_width: int,
    text_length: int,
    patch_size: int,
) -> Any:
    from diffusers import CogVideoXTransformer3DModel

    return CogVideoXTransformer3DModel(
        num_attention_heads=num_heads,
        attention_head_dim=head_dim,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        time_embed_dim=time_width,
        text_embed_dim=text_width,
        num_layers=num_layers,
        sample_width=width_px // spatial_ratio(vae),
        sample_height=height_px // spatial_ratio(vae),
        sample_frames=num_frames,
        patch_size=patch_size,
        temporal_compression_ratio=temporal_ratio(vae),
        max_text_seq_length=text_length,
    )


class TextToVideo(torch.nn.Module):
    """Both networks as one module, so that one optimizer, EMA and checkpoint hold them."""

    def __init__(self, text_encoder: Any, transformer: Any) -> None:
        super().__init__()
        self.text_encoder, self.transformer = text_encoder, transformer

    def forward(
        self, latents: torch.Tensor, timesteps: torch.Tensor, ids: torch.Tensor, keep_B: torch.Tensor
    ) -> Any:
        def drop(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            return output * keep_B[:, None, None].to(output.dtype)

        handle = self.transformer.patch_embed.text_proj.register_forward_hook(drop)
        try:
            text_BLD = self.text_encoder(ids)[0]
            # The CPU's fused bf16 attention has a slow backward; with plain attention a step takes 0.9 times.
            with nullcontext() if latents.is_cuda else sdpa_kernel([SDPBackend.MATH]):
                return self.transformer(latents, text_BLD, timesteps, return_dict=False)[0]
        finally:
            handle.remove()


def take_weights(module: TextToVideo, folder: Path) -> None:
    """Give both networks the weights of a pipeline.

    Raises:
        InputError: the folder is no such pipeline, or a size differs.
    """
    from diffusers import CogVideoXTransformer3DModel
    from transformers import T5EncoderModel

    try:
        text_encoder = T5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        transformer: Any = CogVideoXTransformer3DModel.from_pretrained(folder / "transformer")
        module.text_encoder.load_state_dict(text_encoder.state_dict())
        module.transformer.load_state_dict(transformer.float().state_dict())
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{folder}: no base model of foundation.base's sizes to start from: {error}"
        ) from error


@torch.no_grad()
def encode_pool(vae: Any, pool: Pool, file: Path, batch: int | None = None) -> np.ndarray:
    """Posterior mean and std of every clip, float16 [N, 2, F, C, h, w], kept in `file`.

    Done where the VAE lies, `batch` clips at a time (16 on a CPU, 64 on a GPU).
    """
    device = vae.device.type
    batch = batch or (64 if device == "cuda" else 16)
    num, num_frames, height, width = pool.frames.shape[:4]
    ratio = spatial_ratio(vae)
    latent_px = height // ratio, width // ratio
    shape = (num, 2, num_latent_frames(vae, num_frames), vae.config.latent_channels, *latent_px)
    progress = file.with_suffix(".done")
    done = int(progress.read_text()) if progress.exists() else 0
    store = np.lib.format.open_memmap(file, mode="r+" if done else "w+", dtype=np.float16, shape=shape)
    for start in tqdm(range(done, num, batch), desc="encode", initial=done // batch, total=-(-num // batch)):
        with torch.autocast(device, dtype=torch.bfloat16):
            mean, std = encode_posterior(vae, np.array(pool.frames[start : start + batch]))
        store[start : start + batch] = torch.stack([mean, std], dim=1).cpu().numpy()
        if start % (batch * 20) == 0 or start + batch >= num:
            store.flush()
            progress.write_text(str(start + batch))
    return np.load(file, mmap_mode="r")


def caption_of(pool: Pool, row: int, rng: np.random.Generator) -> str:
    """A caption drawn anew; now and then with a noun that Sprite World does not have."""
    tags = {k: int(v[row]) for k, v in pool.tags.items()}
    colour = pool.colours[row] if rng.random() < COLOUR_SHARE else None
    noun = NOUN_NAMES[tags["noun"]]
    text = caption(
        noun,
        STYLE_NAMES[tags["style"]],
        BACKGROUND_NAMES[tags["background"]],
        MOTION_NAMES[tags["motion"]],
        int(rng.integers(2**31)),
        colour,
    )
    if rng.random() < NEW_NOUN_SHARE:
        text = text.replace(f" {noun}", f" {EXTRA_NOUNS[int(rng.integers(len(EXTRA_NOUNS)))]}", 1)
    return text


def train_base(
    settings: LoopSettings,
    pool: Pool,
    latents: np.ndarray,
    vae: Any,
    tokenizer: Any,
    *,
    shape: dict[str, int],
    text_shape: dict[str, int],
    batch: int,
    text_drop: float,
    snr_shift: float,
    seed: int,
    checkpoint: Path,
    report: Callable[[int, dict[str, float]], None] | None = None,
    start: Path | None = None,
) -> tuple[TextToVideo, dict[str, float]]:
    """Train text encoder and transformer on the pool's latents (redrawn from their posterior each time).

    `start`: the pipeline's folder whose weights they begin with; None: random ones.
    """
    torch.manual_seed(seed)
    # Plain attention in bf16 sums in bf16; the switch counts for the CPU too.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    num_frames, height, width = pool.frames.shape[1:4]
    text_encoder = build_text_encoder(len(tokenizer), **text_shape)
    transformer = build_transformer(
        vae=vae,
        num_frames=num_frames,
        height_px=height,
        width_px=width,
        text_width=text_shape["width"],
        **shape,
    )
    module = TextToVideo(text_encoder, transformer)
    if start is not None:
        take_weights(module, start)
    scheduler = build_scheduler(snr_shift)

    def draw(step: int) -> tuple[torch.Tensor, ...]:
        rows = pick(step, seed, len(latents), batch)
        rng = np.random.default_rng([seed, step, 11])
        moments = torch.from_numpy(np.stack([latents[r] for r in rows])).float()
        texts = [caption_of(pool, int(r), rng) for r in rows]
        fate = rng.random(batch)
        texts = ["" if f < text_drop / 2 else t for t, f in zip(texts, fate, strict=True)]
        keep = torch.from_numpy(~((fate >= text_drop / 2) & (fate < text_drop)))
        ids = tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=shape["text_length"],
            return_tensors="pt",
        ).input_ids
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        x0 = moments[:, 0] + moments[:, 1] * torch.randn(moments[:, 1].shape, generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (batch,), generator=generator)
        return x0 * vae.config.scaling_factor, noise, timesteps, ids, keep

    def loss(drawn: tuple[torch.Tensor, ...], step: int) -> dict[str, torch.Tensor]:
        x0, noise, timesteps, ids, keep = drawn
        noisy = scheduler.add_noise(x0, noise, timesteps)
        target = scheduler.get_velocity(x0, noise, timesteps)
        prediction = module(noisy, timesteps, ids, keep).float()
        return {"loss": (prediction - target).square().mean()}

    figures = train_network(module, draw, loss, settings, checkpoint, report, report_every=100)
    return module, figures


@torch.no_grad()
def evaluate_base(
    module: TextToVideo,
    pool: Pool,
    latents: np.ndarray,
    vae: Any,
    tokenizer: Any,
    text_length: int,
    snr_shift: float,
    seed: int = 3,
) -> dict[str, float]:
    """Loss on held-out clips at fixed noise, with the right caption and with another clip's caption."""
    scheduler = build_scheduler(snr_shift)
    device = next(module.parameters()).device
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.from_numpy(np.array(latents[:, 0])).float() * vae.config.scaling_factor
    noise = torch.randn(x0.shape, generator=generator)
    timesteps = torch.linspace(10, 990, len(x0)).long()
    texts = [caption_of(pool, row, rng) for row in range(len(x0))]
    losses = {"held_out_loss": 0.0, "held_out_loss_wrong_text": 0.0}
    noisy, target = scheduler.add_noise(x0, noise, timesteps), scheduler.get_velocity(x0, noise, timesteps)
    for name, written in (("held_out_loss", texts), ("held_out_loss_wrong_text", texts[1:] + texts[:1])):
        ids = tokenizer(
            written, padding="max_length", truncation=True, max_length=text_length, return_tensors="pt"
        ).input_ids
        for part in torch.arange(len(x0)).split(32):
            keep = torch.ones(len(part), dtype=torch.bool)
            given = (value.to(device) for value in (noisy[part], timesteps[part], ids[part], keep))
            prediction = module(*given).cpu()
            losses[name] += float((prediction - target[part]).square().mean()) * len(part) / len(x0)
    return losses
