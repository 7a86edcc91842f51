"""A trained model on held-out subjects of Sprite World, and the judges of its videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sugar.config import load_params
from sugar.encoders.conditioner import ImageConditioner
from sugar.encoders.vae import decode_latents
from sugar.evaluation.benchmark import sprite_benchmark
from sugar.evaluation.scores import Scorer
from sugar.model.denoiser import Tokens
from sugar.model.transformer import SugarTransformer3DModel
from sugar.pipeline import SugarPipeline
from sugar.stages.benchmarking import judges_of

METRICS = ("dino_score", "retrieval_top1", "clip_score", "style_accuracy")
"""Identity (two), text alignment, style."""


@dataclass(frozen=True)
class SpriteVideos:
    """A model, its conditions and noise, a clip each; the scales of params.yaml; the metrics of latents."""

    name: str
    model: SugarTransformer3DModel
    tokens: Tokens
    scheduler: Any
    noise_BFCHW: Tensor
    scales: tuple[float, float]
    judge: Callable[[Tensor], dict[str, float]]


@torch.no_grad()
def sprite_videos(folder: Path, num_videos: int, device: torch.device) -> SpriteVideos:
    """Held-out subjects, one sentence each, for a `SugarPipeline` folder.

    Without the folder: the base text-to-video model with image projections that nothing has trained, whose
    identity scores mean nothing; its name says so.
    """
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    benchmark = sprite_benchmark(num_videos, 1, params.evaluate.seed, params.evaluate.retrieval_gallery)
    pairs = benchmark.pairs
    identities = [pair.subject.identity for pair in pairs]
    if folder.is_dir():
        pipeline, name = SugarPipeline.from_pretrained(folder).to(device), str(folder)
    else:
        base, dino, clip = (params.network(key) for key in ("base", "dino", "clip"))
        widths = [stream.shape[-1] for stream in ImageConditioner.load(dino, clip)(identities[:1])]
        torch.manual_seed(0)
        model = SugarTransformer3DModel.from_cogvideox(base, dino_dim=widths[0], clip_dim=widths[1])
        pipeline = SugarPipeline.assemble(base, model.eval(), dino, clip, device)
        name = f"{base} (no {folder}), image projections untrained"
    scorer, config = Scorer(benchmark, judges_of(params), params.video.fps), pipeline.transformer.config
    frames = 1 + (params.video.num_frames - 1) // config.temporal_compression_ratio
    shape = (frames, config.in_channels, config.sample_height, config.sample_width)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(pair.seed)) for pair in pairs]

    def judge(latents: Tensor) -> dict[str, float]:
        rows = scorer.score(pairs, decode_latents(pipeline.vae, latents).cpu().numpy())
        known = {metric: [row[metric] for row in rows if row[metric] is not None] for metric in METRICS}
        return {metric: float(np.mean(values)) for metric, values in known.items()}

    text = pipeline.encode_prompts([pair.text for pair in pairs])
    return SpriteVideos(
        name,
        pipeline.transformer,
        Tokens(text, *pipeline.image_conditioner(identities)),
        pipeline.scheduler,
        torch.stack(noise).to(device),
        (params.sampling.image_scale, params.sampling.text_scale),
        judge,
    )
