"""`sugar foundation`: train all small networks, or some, and write them with their model cards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sugar.config import InputError, Params
from sugar.config.foundation import FoundationDino, FoundationMatching, FoundationVideoText
from sugar.encoders.loading import resolve_device
from sugar.foundation import base as base_training
from sugar.foundation import identity, inheritance, matching, pools
from sugar.foundation.cards import write_card
from sugar.foundation.loop import LoopSettings
from sugar.foundation.tokenizer import build_tokenizer
from sugar.foundation.vae import train_vae

NETWORKS = ("vae", "dino", "metrics_dino", "clip", "video_text", "base")
TEXT_LENGTH = 32
Log = Callable[[str, dict[str, float], int], None]


@dataclass(frozen=True)
class _Context:
    params: Params
    out: Path
    work: Path
    log: Log
    device: torch.device

    def settings(self, name: str, ema_decay: float = 0.999) -> LoopSettings:
        options = getattr(self.params.foundation, name)
        return LoopSettings(
            name=name,
            steps=options.steps,
            learning_rate=options.learning_rate,
            warmup_steps=min(100, max(1, options.steps // 10)),
            ema_decay=ema_decay,
            precision=self.params.foundation.precision,
            device=self.device,
        )

    def report(self, name: str) -> Callable[[int, dict[str, float]], None]:
        return lambda step, figures: self.log(name, figures, step)

    def write_card(
        self, folder: Path, class_name: str, name: str, figures: dict[str, float], seed: int
    ) -> None:
        options = getattr(self.params.foundation, name).model_dump()
        write_card(folder, class_name, name, options, figures, seed, self.device)

    def checkpoint(self, name: str) -> Path:
        return self.work / f"{name}.pt"

    def identity_pool(self, num: int | None = None) -> pools.Pool:
        """`num` identities to train on; None: the held-out ones."""
        sizes = self.params.foundation.pools
        count = sizes.held_out_identities if num is None else num
        side_px = self.params.video.height_px
        return pools.draw_identity_pool(self.work, count, sizes.views, side_px, held_out=num is None)

    def clip_pool(self, held_out: bool) -> pools.Pool:
        sizes, video = self.params.foundation.pools, self.params.video
        num = sizes.held_out_clips if held_out else sizes.clips
        return pools.draw_clip_pool(self.work, num, video.num_frames, video.height_px, held_out)


def run_foundation(
    params: Params, only: list[str] | None, out: Path, log: Log | None = None
) -> dict[str, dict[str, float]]:
    """Train the networks named in `only` (all by default) and write them under `out`.

    A network whose training was cut off continues; one that is finished is only evaluated and written again.
    "base" needs "vae" trained before (its folder is read from `out`).

    Returns figures by network. Raises InputError for an unknown name or a picture that is not square.
    """
    names = _wanted(params, only)
    context = _context(params, out, log)
    makers = {
        "vae": _vae,
        "dino": _dino,
        "metrics_dino": _dino,
        "clip": _matching,
        "video_text": _matching,
        "base": _base,
    }
    figures = {}
    for name in names:
        figures[name] = makers[name](context, name)
        context.log(name, figures[name], getattr(params.foundation, name).steps)
    return figures


def draw_pools(params: Params, only: list[str] | None) -> None:
    """Draw the pictures and clips that the networks named in `only` are trained and judged on, and no more.

    Trainings in several processes can then share `foundation.work`.
    """
    context = _context(params, Path())
    for name in _wanted(params, only):
        options = getattr(params.foundation, name)
        if identities := getattr(options, "identities", None):
            context.identity_pool(identities)
        else:
            context.clip_pool(False)
        if isinstance(options, FoundationDino):
            context.identity_pool()
        elif name != "vae":
            context.clip_pool(True)


def _context(params: Params, out: Path, log: Log | None = None) -> _Context:
    device = resolve_device(params.networks.device)
    return _Context(params, out, params.given(params.foundation.work), log or (lambda *_: None), device)


def _wanted(params: Params, only: list[str] | None) -> list[str]:
    unknown = sorted(set(only or ()) - set(NETWORKS))
    if unknown:
        raise InputError(f"--only must name networks of {', '.join(NETWORKS)}, got {', '.join(unknown)}")
    if params.video.height_px != params.video.width_px:
        raise InputError(
            f"video.height_px must equal video.width_px for the small networks, got "
            f"{params.video.height_px} x {params.video.width_px}"
        )
    return [name for name in NETWORKS if only is None or name in only]


def _stored(module: Any) -> Any:
    """Half-precision weights, as they are shipped (figures are measured on these)."""
    return module.half()


def _digest(module: torch.nn.Module) -> str:
    """Eight characters that change with the weights: latents are kept by the VAE they are of."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def _vae(context: _Context, name: str) -> dict[str, float]:
    options = context.params.foundation.vae
    vae, figures = train_vae(
        context.settings(name, ema_decay=0.995),
        context.clip_pool(False),
        block_out_channels=options.channels,
        latent_channels=options.latent_channels,
        image_steps=options.image_steps,
        crop_steps=options.crop_steps,
        crop_px=options.crop_px,
        image_batch=options.image_batch,
        crop_batch=options.crop_batch,
        clip_batch=options.clip_batch,
        kl_weight=options.kl_weight,
        seed=context.params.foundation.seed,
        checkpoint=context.checkpoint(name),
        report=context.report(name),
    )
    folder = context.out / "base" / "vae"
    _stored(vae).save_pretrained(folder)
    context.write_card(folder, "AutoencoderKLCogVideoX", name, figures, context.params.foundation.seed)
    return figures


def _dino(context: _Context, name: str) -> dict[str, float]:
    options: FoundationDino = getattr(context.params.foundation, name)
    seed = context.params.foundation.seed + (1000 if name == "metrics_dino" else 0)
    shape = {k: getattr(options, k) for k in ("hidden_size", "num_layers", "num_heads", "patch_size")}
    model, figures = identity.train_dino(
        context.settings(name),
        context.identity_pool(options.identities),
        shape=shape,
        jittered=options.jitter,
        seeing=options.seeing,
        batch=options.batch,
        seed=seed,
        checkpoint=context.checkpoint(name),
        temperature=options.temperature,
        report=context.report(name),
    )
    model = _stored(model)
    model.save_pretrained(context.out / name)
    figures = {**figures, **identity.evaluate_dino(model.float().to(context.device), context.identity_pool())}
    context.write_card(context.out / name, "Dinov2Model", name, figures, seed)
    return figures


def _matching(context: _Context, name: str) -> dict[str, float]:
    options: FoundationMatching = getattr(context.params.foundation, name)
    seed = context.params.foundation.seed
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(TEXT_LENGTH, kind="clip")
    shape = (
        options.hidden_size,
        options.num_layers,
        options.num_heads,
        context.params.video.height_px,
        options.patch_size,
    )
    if isinstance(options, FoundationVideoText):
        model = matching.build_video_text(tokenizer, *shape, options.num_frames)
    else:
        model = matching.build_clip(tokenizer, *shape)
    if options.start is not None:
        start = inheritance.start_from_clip if "clip" in options.start else inheritance.start_from_dino
        start(model, name, context.out / options.start)
    figures = matching.train_matching(
        model,
        tokenizer,
        context.settings(name),
        context.identity_pool(options.identities) if options.identities else context.clip_pool(False),
        scenes=options.identities is not None,
        jittered=options.jitter,
        batch=options.batch,
        seed=seed,
        checkpoint=context.checkpoint(name),
        report=context.report(name),
    )
    model = _stored(model)
    model.save_pretrained(context.out / name)
    tokenizer.save_pretrained(context.out / name)
    model = model.float().to(context.device)
    figures = {**figures, **matching.evaluate_matching(model, tokenizer, context.clip_pool(True))}
    context.write_card(context.out / name, type(model).__name__, name, figures, seed)
    return figures


def _base(context: _Context, name: str) -> dict[str, float]:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXPipeline

    options, seed = context.params.foundation.base, context.params.foundation.seed
    folder = context.out / "base"
    if not (folder / "vae" / "config.json").exists():
        raise InputError(f"{folder / 'vae'}: must exist before the base model is trained; add --only vae")
    vae: Any = AutoencoderKLCogVideoX.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    tokenizer = build_tokenizer(options.text_length, kind="t5")
    pool, held_out = context.clip_pool(False), context.clip_pool(True)
    of_vae = _digest(vae)
    vae.to(context.device)
    latents = base_training.encode_pool(vae, pool, context.work / f"latents-{len(pool.frames)}-{of_vae}.npy")
    held_latents = base_training.encode_pool(
        vae, held_out, context.work / f"latents-{len(held_out.frames)}-held-out-{of_vae}.npy"
    )
    vae.to("cpu")
    module, figures = base_training.train_base(
        context.settings(name),
        pool,
        latents,
        vae,
        tokenizer,
        shape={
            "num_layers": options.num_layers,
            "num_heads": options.num_heads,
            "head_dim": options.head_dim,
            "patch_size": options.patch_size,
            "time_width": options.time_width,
            "text_length": options.text_length,
        },
        text_shape={
            "width": options.text_width,
            "num_layers": options.text_layers,
            "num_heads": options.text_heads,
        },
        batch=options.batch,
        text_drop=options.text_drop,
        snr_shift=options.snr_shift,
        seed=seed,
        checkpoint=context.checkpoint(name),
        report=context.report(name),
        start=None if options.start is None else context.params.given(options.start),
    )
    module = _stored(module)
    CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=module.text_encoder,
        vae=vae.half(),
        transformer=module.transformer,
        scheduler=base_training.build_scheduler(options.snr_shift),
    ).save_pretrained(folder)
    held_out_figures = base_training.evaluate_base(
        module.float().to(context.device),
        held_out,
        held_latents,
        vae,
        tokenizer,
        options.text_length,
        options.snr_shift,
    )
    figures = {**figures, **held_out_figures}
    context.write_card(folder, "CogVideoXPipeline", name, figures, seed)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures
