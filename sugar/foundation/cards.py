"""Model cards: what a shipped network is, the command that makes it, and what it reached."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

WHAT = {
    "vae": "Video VAE ({space}x in space, 4x in time) trained on clips of Sprite World.",
    "dino": "Identity-contrastive image encoder: views of one subject attract each other.",
    "metrics_dino": "As `dino`, from another seed. It only judges: nothing is trained with it.",
    "clip": "Image-text encoder trained on frames and captions of Sprite World.",
    "video_text": "Video-text encoder trained on clips and captions of Sprite World.",
    "base": "Text-to-video model (T5 encoder, transformer, VAE) trained on captioned clips of Sprite World.",
}

KNOWS = "Knows nothing but Sprite World"
"""On the card of each, by which they are told from published networks."""


def hardware(device: torch.device) -> str:
    """What a training ran on: the GPU's name, or how many CPU cores there are."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores"


def write_card(
    folder: Path,
    class_name: str,
    name: str,
    options: Mapping[str, Any],
    figures: Mapping[str, float],
    seed: int,
    device: torch.device,
) -> None:
    """Write `README.md` beside the weights: class, command, seed, time, options and held-out figures."""
    what = WHAT[name].format(space=2 ** (len(options["channels"]) - 1)) if name == "vae" else WHAT[name]
    figures = dict(figures)
    minutes = figures.pop("seconds", 0.0) / 60
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: "
        + ("diffusers" if class_name in ("CogVideoXPipeline", "AutoencoderKLCogVideoX") else "transformers"),
        "---",
        f"# {name}",
        "",
        what,
        "",
        f"- class: `{class_name}`, weights in half precision (safetensors)",
        f"- command: `sugar foundation --only {name}`",
        f"- seed: {seed}",
        f"- training time: {minutes:.0f} minutes on {hardware(device)}",
        f"- options: `{json.dumps(dict(options))}`",
        "",
        "| figure (held-out subjects, but for training losses) | value |",
        "|---|---|",
        *(f"| {key} | {value:.4f} |" for key, value in figures.items()),
        "",
        f"{KNOWS}: not for any use beyond the default run and tests.",
        "",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join(lines))
