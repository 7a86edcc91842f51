"""Contrastive training of the small image-text and video-text encoders on captions.

A caption fits every picture or clip of the batch that has all the tags it names, so accidental matches are
not pushed apart. Beside the captions every picture chooses among the plain texts of all nouns, all styles,
all places (and all motions): a noun is a small part of a sentence, and is learned late from sentences alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from sugar.encoders.features import clip_image_features, clip_text_features, evenly_spaced
from sugar.encoders.preprocess import normalise, to_pixels
from sugar.foundation.augment import jitter
from sugar.foundation.loop import LoopSettings, plain_attention, train_network
from sugar.foundation.pools import (
    BACKGROUND_NAMES,
    MOTION_NAMES,
    NOUN_NAMES,
    STYLE_NAMES,
    Pool,
    pick,
)
from sugar.sprites import BACKGROUNDS, MOTIONS, STYLES, caption

Report = Callable[[int, dict[str, float]], None] | None


def partial_caption(tags: dict[str, int], seed: int, with_motion: bool) -> tuple[str, dict[str, int]]:
    """A caption that names all tags, or only some (so that each attribute is learned by itself)."""
    rng = np.random.default_rng([seed, 3])
    noun, background = NOUN_NAMES[tags["noun"]], BACKGROUND_NAMES[tags["background"]]
    style, motion = STYLE_NAMES[tags["style"]], MOTION_NAMES[tags["motion"]]
    if rng.random() < 0.5:
        return caption(noun, style, background, motion, int(rng.integers(2**31))), dict(tags)
    kinds = ["noun", "style", "background"] + (["motion"] if with_motion else [])
    keep = [k for k in kinds if rng.random() < 0.5] or [kinds[int(rng.integers(len(kinds)))]]
    text = attribute_text(**{k: tags[k] for k in keep})
    return text, {k: tags[k] for k in keep}


def attribute_text(
    noun: int | None = None,
    style: int | None = None,
    background: int | None = None,
    motion: int | None = None,
) -> str:
    """The plain text of some attributes, also the prompt of zero-shot classification."""
    parts = ["a picture of" if style in (None, 0) else STYLES[STYLE_NAMES[style]].prefixes[0]]
    parts.append("something" if noun is None else f"a {NOUN_NAMES[noun]}")
    if motion is not None:
        parts.append(MOTIONS[MOTION_NAMES[motion]].verbs[0])
    if background is not None:
        parts.append(BACKGROUNDS[BACKGROUND_NAMES[background]].phrases[0])
    return " ".join(parts)


def matches(captions: Sequence[dict[str, int]], tags: dict[str, np.ndarray]) -> torch.Tensor:
    """Bool [captions, pictures]: the picture has every tag that the caption names."""
    fits = np.ones((len(captions), len(tags["noun"])), dtype=bool)
    for tag, values in tags.items():
        wanted = np.array([c.get(tag, -1) for c in captions])
        fits &= (wanted[:, None] == values[None]) | (wanted[:, None] < 0)
    return torch.from_numpy(fits)


def matching_loss(logits_TI: torch.Tensor, fits_TI: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy with a uniform target over all that fits (CLIP with several positives)."""
    by_text = -(F.log_softmax(logits_TI, 1) * fits_TI).sum(1) / fits_TI.sum(1)
    by_image = -(F.log_softmax(logits_TI, 0) * fits_TI).sum(0) / fits_TI.sum(0).clamp_min(1)
    return (by_text.mean() + by_image.mean()) / 2


def attribute_texts(with_motion: bool) -> tuple[list[str], dict[str, slice]]:
    """The plain texts of all values of each attribute, in a row, and where each attribute's lie."""
    kinds = {"noun": NOUN_NAMES, "style": STYLE_NAMES, "background": BACKGROUND_NAMES}
    if with_motion:
        kinds["motion"] = MOTION_NAMES
    texts: list[str] = []
    places = {}
    for kind, names in kinds.items():
        places[kind] = slice(len(texts), len(texts) + len(names))
        texts += [attribute_text(**{kind: i}) for i in range(len(names))]
    return texts, places


def attribute_loss(
    logits_IA: torch.Tensor, places: dict[str, slice], tags: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Mean over the attributes of the cross-entropy between an attribute's plain texts."""
    losses = [F.cross_entropy(logits_IA[:, place], tags[kind]) for kind, place in places.items()]
    return torch.stack(losses).mean()


TEXT_WIDTH = 128


def _text_config(tokenizer: Any) -> dict[str, int]:
    return {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 3 * TEXT_WIDTH,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        **text_ids(tokenizer),
    }


def build_clip(
    tokenizer: Any, hidden: int, num_layers: int, num_heads: int, image_size: int, patch_size: int
) -> Any:
    """A `CLIPModel`; its image side can start from a DINO of the same sizes."""
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(
        CLIPConfig(
            text_config=_text_config(tokenizer),
            vision_config={
                "hidden_size": hidden,
                "intermediate_size": 3 * hidden,
                "num_attention_heads": num_heads,
                "num_hidden_layers": num_layers,
                "image_size": image_size,
                "patch_size": patch_size,
                "hidden_act": "gelu",
                "layer_norm_eps": 1e-6,
            },
            projection_dim=TEXT_WIDTH,
        )
    )


def build_video_text(
    tokenizer: Any,
    hidden: int,
    num_layers: int,
    num_heads: int,
    image_size: int,
    patch_size: int,
    num_frames: int,
) -> Any:
    from transformers import XCLIPConfig, XCLIPModel

    vision = {
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_attention_heads": num_heads,
        "num_hidden_layers": num_layers,
        "image_size": image_size,
        "patch_size": patch_size,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "num_frames": num_frames,
        "mit_hidden_size": TEXT_WIDTH,
        "mit_intermediate_size": 3 * TEXT_WIDTH,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 4,
        "drop_path_rate": 0.0,
    }
    return XCLIPModel(
        XCLIPConfig(
            text_config=_text_config(tokenizer),
            vision_config=vision,
            projection_dim=TEXT_WIDTH,
            prompt_layers=1,
            prompt_num_attention_heads=4,
        )
    )


def text_ids(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _clips_of(pool: Pool, rows: np.ndarray, kept: np.ndarray) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """Frames uint8 [B, T, H, W, 3] of a clip pool and their tags [B]; kept: frames, [T] or [B, T]."""
    each = np.broadcast_to(kept, (len(rows), kept.shape[-1]))
    frames = np.stack([pool.frames[row][which] for row, which in zip(rows, each, strict=True)])
    return torch.from_numpy(frames), {kind: values[rows] for kind, values in pool.tags.items()}


def _scenes_of(
    pool: Pool, rows: np.ndarray, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """One scene uint8 [B, 1, H, W, 3] an identity (every second view is one), tags [B]; of any motion."""
    views = rng.integers(pool.frames.shape[1] // 2, size=len(rows)) * 2 + 1
    frames = np.stack([pool.frames[row, view] for row, view in zip(rows, views, strict=True)])
    tags = {kind: values[rows, views] for kind, values in pool.tags.items()}
    motions = rng.integers(len(MOTION_NAMES), size=len(rows))
    return torch.from_numpy(frames)[:, None], {**tags, "motion": motions}


def train_matching(
    model: Any,
    tokenizer: Any,
    settings: LoopSettings,
    pool: Pool,
    *,
    scenes: bool,
    batch: int,
    seed: int,
    checkpoint: Path,
    jittered: bool = True,
    report: Report = None,
) -> dict[str, float]:
    """Train a `CLIPModel` on scenes of an identity pool or frames of clips, an `XCLIPModel` on clips.

    Captions are drawn anew each time. With `jittered` pictures are moved, zoomed and, if single, mirrored.
    """
    video = model.config.model_type == "xclip"
    num_frames = model.config.vision_config.num_frames if video else 1
    plain_texts, places = attribute_texts(with_motion=video)

    def draw(step: int) -> tuple[Any, ...]:
        rows = pick(step, seed, len(pool.frames), batch)
        rng = np.random.default_rng([seed, step, 7])
        if scenes:
            frames, tags = _scenes_of(pool, rows, rng)
        elif video:
            frames, tags = _clips_of(pool, rows, evenly_spaced(pool.frames.shape[1], num_frames))
        else:
            frames, tags = _clips_of(pool, rows, rng.integers(pool.frames.shape[1], size=(batch, 1)))
        written = [
            partial_caption({k: int(v[i]) for k, v in tags.items()}, int(rng.integers(2**31)), video)
            for i in range(batch)
        ]
        if not video:
            written = [(text, {k: v for k, v in named.items() if k != "motion"}) for text, named in written]
        text = tokenizer(
            [w[0] for w in written] + plain_texts,
            padding="longest",
            truncation=True,
            max_length=32,
            return_tensors="pt",
        )
        fits = matches([w[1] for w in written], tags)
        targets = {kind: torch.from_numpy(values) for kind, values in tags.items()}
        return frames, text.input_ids, text.attention_mask, fits, targets

    def loss(drawn: tuple[Any, ...], step: int) -> dict[str, torch.Tensor]:
        frames, ids, mask, fits, tags = drawn
        step_seed = seed * 1_000_003 + step
        mirrored_B = torch.rand(batch, generator=torch.Generator().manual_seed(step_seed)) < 0.5
        pixels = to_pixels(frames.flatten(0, 1), frames.device)
        if jittered:
            together = pixels.unflatten(0, (batch, num_frames)).flatten(1, 2)
            moved = jitter(together, step_seed, None if video else mirrored_B)
            pixels = moved.unflatten(1, (num_frames, 3)).flatten(0, 1)
        pixels = normalise(pixels, model)
        if video:
            pixels = pixels.unflatten(0, (batch, num_frames))
        # Nothing before the token a text is read at sees the padding after it: without a mask attention is a
        # plain causal one, fused on a GPU, and no step waits to look whether the mask hides anything.
        mask = None if pixels.is_cuda else mask
        output = model(pixel_values=pixels, input_ids=ids, attention_mask=mask)
        logits_TI = output.logits_per_text.float()
        captions = matching_loss(logits_TI[:batch], fits)
        attributes = attribute_loss(logits_TI[batch:].T, places, tags)
        return {"loss": captions + attributes, "captions": captions, "attributes": attributes}

    with plain_attention(model, settings.device):
        return train_network(model, draw, loss, settings, checkpoint, report)


@torch.no_grad()
def evaluate_matching(model: Any, tokenizer: Any, held_out: Pool) -> dict[str, float]:
    """Zero-shot accuracy per attribute on held-out subjects: the class whose plain text fits best."""
    video = model.config.model_type == "xclip"
    kinds = {"noun": NOUN_NAMES, "style": STYLE_NAMES, "background": BACKGROUND_NAMES}
    if video:
        kinds["motion"] = MOTION_NAMES
    frames_NTHWC = torch.from_numpy(np.array(held_out.frames))
    figures = {}
    for kind, names in kinds.items():
        texts = [attribute_text(**{kind: i}) for i in range(len(names))]
        guesses = (
            _guess_videos(model, tokenizer, frames_NTHWC, texts)
            if video
            else (
                clip_image_features(model, frames_NTHWC[:, frames_NTHWC.shape[1] // 2])
                @ clip_text_features(model, tokenizer, texts).T
            ).argmax(-1)
        )
        right = guesses.cpu() == torch.from_numpy(held_out.tags[kind])
        figures[f"{kind}_accuracy"] = float(right.float().mean())
    return figures


def _guess_videos(model: Any, tokenizer: Any, frames_NTHWC: torch.Tensor, texts: list[str]) -> torch.Tensor:
    kept = torch.as_tensor(evenly_spaced(frames_NTHWC.shape[1], model.config.vision_config.num_frames))
    text = tokenizer(texts, padding="max_length", truncation=True, max_length=32, return_tensors="pt")
    ids, mask = text.input_ids.to(model.device), text.attention_mask.to(model.device)
    guesses = []
    for chunk in frames_NTHWC[:, kept].split(32):
        pixels = normalise(to_pixels(chunk.flatten(0, 1), model.device), model).unflatten(0, chunk.shape[:2])
        output = model(pixel_values=pixels, input_ids=ids, attention_mask=mask)
        guesses.append(output.logits_per_video.argmax(-1))
    return torch.cat(guesses)
