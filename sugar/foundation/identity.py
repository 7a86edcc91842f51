"""Training of the small `Dinov2Model`s on who is who.

Views of one subject attract each other (other styles, other scenes), views of other subjects, half of them
of the same noun, repel. Beside that a linear layer, not kept, reads what makes the identity (noun, pattern,
colours, proportions) off the feature: shapes are learned much sooner so than from comparisons alone. Another
can read each patch's own pixels off its token, so that tokens keep what a network that they condition needs
and comparisons alone would forget.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from sugar.encoders.features import dino_features
from sugar.encoders.preprocess import normalise, to_pixels
from sugar.foundation.augment import blur_some, jitter
from sugar.foundation.loop import LoopSettings, plain_attention, train_network
from sugar.foundation.pools import NOUN_NAMES, Pool, identity_at
from sugar.sprites.identity import PATTERNS

Report = Callable[[int, dict[str, float]], None] | None
NUM_COLOURS, NUM_PROPORTIONS = 9, 6
NUM_TARGETS = len(NOUN_NAMES) + len(PATTERNS) + NUM_COLOURS + NUM_PROPORTIONS


def build_dino(hidden_size: int, num_layers: int, num_heads: int, image_size: int, patch_size: int) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(
        Dinov2Config(
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            mlp_ratio=3,
            image_size=image_size,
            patch_size=patch_size,
            layerscale_value=0.5,
        )
    )


def identity_loss(features_VBD: torch.Tensor, temperature: float) -> torch.Tensor:
    """InfoNCE over identities: each view's positives are the other views of the same subject (SupCon)."""
    num_views, batch = features_VBD.shape[:2]
    flat_MD = F.normalize(features_VBD.float(), dim=-1).flatten(0, 1)
    subject_M = torch.arange(batch, device=flat_MD.device).repeat(num_views)
    similarity_MM = flat_MD @ flat_MD.T / temperature
    itself = torch.eye(len(flat_MD), dtype=torch.bool, device=flat_MD.device)
    positive = (subject_M[:, None] == subject_M[None]) & ~itself
    log_probability = similarity_MM - similarity_MM.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    return -(log_probability * positive).sum(1).div(positive.sum(1)).mean()


def what_makes_it(index: int, held_out: bool = False) -> np.ndarray:
    """Of a pool's identity: class of noun and pattern, nine colour values and six proportions in [-1, 1]."""
    identity = identity_at(index, held_out)
    colours = np.array(identity.palette, dtype=np.float32).ravel() / 127.5 - 1
    classes = [NOUN_NAMES.index(identity.noun), PATTERNS.index(identity.pattern)]
    return np.concatenate([classes, colours, identity.proportions]).astype(np.float32)


def reading_loss(read_NA: torch.Tensor, wanted_NA: torch.Tensor) -> torch.Tensor:
    """What the linear layer reads, against rows of `what_makes_it`: cross-entropies and squared errors."""
    nouns, patterns, numbers = read_NA.float().split(
        [len(NOUN_NAMES), len(PATTERNS), NUM_COLOURS + NUM_PROPORTIONS], dim=1
    )
    return (
        F.cross_entropy(nouns, wanted_NA[:, 0].long())
        + F.cross_entropy(patterns, wanted_NA[:, 1].long())
        + 2 * F.mse_loss(numbers, wanted_NA[:, 2:])
    )


def seeing_loss(read_BPN: torch.Tensor, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Squared error of each patch's pixels, in [-1, 1] at half the resolution, as read off its token."""
    half = F.avg_pool2d(pixels_BCHW.float() / 127.5 - 1, 2)
    side = round((half.shape[2] * half.shape[3] / read_BPN.shape[1]) ** 0.5)
    wanted_BNP = F.unfold(half, side, stride=side)
    return F.mse_loss(read_BPN.float(), wanted_BNP.transpose(1, 2))


class _WithReader(torch.nn.Module):
    def __init__(self, dino: Any, sees: bool) -> None:
        super().__init__()
        self.dino = dino
        self.reader = torch.nn.Linear(dino.config.hidden_size, NUM_TARGETS)
        if sees:
            self.pixel_reader = torch.nn.Linear(
                dino.config.hidden_size, 3 * (dino.config.patch_size // 2) ** 2
            )


def train_dino(
    settings: LoopSettings,
    pool: Pool,
    *,
    shape: dict[str, int],
    batch: int,
    seed: int,
    checkpoint: Path,
    temperature: float = 0.1,
    jittered: bool = True,
    seeing: float = 0.0,
    report: Report = None,
) -> tuple[Any, dict[str, float]]:
    """Identity-contrastive `Dinov2Model`: a scene and a cut-out a subject; half of a batch has few nouns.

    With `jittered` both views of a subject are mirrored or neither is; moves and zooms, as the blur, are each
    picture's own. `seeing` is the weight of `seeing_loss`; 0: none.
    """
    torch.manual_seed(seed)
    module = _WithReader(build_dino(image_size=pool.frames.shape[2], **shape), seeing > 0)
    num, num_views = pool.frames.shape[:2]
    num_nouns = len(NOUN_NAMES)
    made_of = np.stack([what_makes_it(index) for index in range(num)])

    def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([seed, step])
        nouns = np.concatenate(
            [
                rng.integers(num_nouns, size=batch // 2),
                rng.choice(num_nouns, 3)[rng.integers(3, size=batch - batch // 2)],
            ]
        )
        rows = np.unique(nouns + num_nouns * rng.integers(num // num_nouns, size=batch))
        scenes = rng.integers(num_views // 2, size=len(rows)) * 2 + 1
        cutouts = rng.integers((num_views + 1) // 2, size=len(rows)) * 2
        views = np.stack([scenes, cutouts], axis=1)
        frames = torch.from_numpy(
            np.stack([pool.frames[r][v] for r, v in zip(rows, views, strict=True)], axis=1)
        )
        return frames, torch.from_numpy(made_of[rows])

    def loss(drawn: tuple[torch.Tensor, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        frames_VBHWC, wanted_BA = drawn
        step_seed = seed * 1_000_003 + step
        mirrored_B = torch.rand(len(wanted_BA), generator=torch.Generator().manual_seed(step_seed)) < 0.5
        pixels = to_pixels(frames_VBHWC.flatten(0, 1), frames_VBHWC.device)
        if jittered:
            pixels = jitter(pixels, step_seed, mirrored_B.repeat(len(frames_VBHWC)))
        blurred = blur_some(pixels, step_seed)
        tokens_MPD = module.dino(pixel_values=normalise(blurred, module.dino)).last_hidden_state
        features = tokens_MPD[:, 0]
        who = identity_loss(features.unflatten(0, frames_VBHWC.shape[:2]), temperature)
        what = reading_loss(module.reader(features), wanted_BA.repeat(len(frames_VBHWC), 1))
        if not seeing:
            return {"loss": who + what, "who": who, "what": what}
        seen = seeing_loss(module.pixel_reader(tokens_MPD[:, 1:]), pixels)
        return {"loss": who + what + seeing * seen, "who": who, "what": what, "seen": seen}

    with plain_attention(module.dino, settings.device):
        figures = train_network(module, draw, loss, settings, checkpoint, report)
    return module.dino, figures


@torch.no_grad()
def evaluate_dino(model: Any, held_out: Pool, gallery: int = 100) -> dict[str, float]:
    """Top-1 retrieval among `gallery` held-out identities: each other view against the plain cut-outs."""
    frames_NVHWC = torch.from_numpy(np.array(held_out.frames[:gallery]))
    num, num_views = frames_NVHWC.shape[:2]
    features_NVD = dino_features(model, frames_NVHWC.flatten(0, 1)).unflatten(0, (num, num_views))
    nearest_NV = torch.einsum("nvd,md->nvm", features_NVD, features_NVD[:, 0]).argmax(-1)
    right_NV = nearest_NV == torch.arange(num, device=nearest_NV.device)[:, None]
    cutouts, scenes = right_NV[:, 2::2], right_NV[:, 1::2]
    return {
        "retrieval_top1": float(right_NV[:, 1:].float().mean()),
        "retrieval_cutouts": float(cutouts.float().mean()),
        "retrieval_scenes": float(scenes.float().mean()),
    }
