"""The transformer as the sampler's denoiser: several guidance branches from one set of tokens.

Legend: B clips, F latent frames, C channels, H W latent height and width, L tokens, E encoder width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from sugar.model.transformer import Conditions, SugarTransformer3DModel

BatchBranches = Literal["auto", "all", "one"]
BATCH_BRANCHES: tuple[BatchBranches, ...] = ("auto", "all", "one")
# Live activations of one token in a block without gradients, in widths: joint and normed states, query, key,
# value, attention output, and the feed-forward's four.
_WIDTHS_PER_TOKEN = 12


class BranchLike(Protocol):
    """What a branch keeps: `dino`, `clip`, and `text` "prompt", "negative" or "null"."""

    @property
    def dino(self) -> bool: ...
    @property
    def clip(self) -> bool: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class Tokens:
    """The encoded conditions of B clips; None leaves a stream out of the sequence altogether.

    Args:
        text, dino, clip: `[B, L, E]`.
        negative_text: `[B, L, E]`, for branches whose text is "negative".
    """

    text: Tensor
    dino: Tensor | None = None
    clip: Tensor | None = None
    negative_text: Tensor | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Tokens:
        moved = (
            None if stream is None else stream.to(device, dtype)
            for stream in (self.text, self.dino, self.clip, self.negative_text)
        )
        text, dino, clip, negative_text = moved
        assert text is not None
        return Tokens(text, dino, clip, negative_text)


class BranchDenoiser:
    """Predicts the velocity for the branches that it is asked for, together or one after another.

    What does not change from step to step is computed once: the projected conditions of each set of branches
    and the rotary tables. Streams that no branch of a batch keeps cost one token each (`embed_conditions`).

    Args:
        transformer: used without gradients, in its own dtype; predictions come back float32.
        tokens: of the clips, in the order of the latents.
        batch_branches: "all" joins the branches in one batch, "one" runs them in turn, "auto" joins them on a
            GPU whose free memory allows it and runs them in turn on a CPU, where a larger batch gains nothing
            and a branch alone has fewer tokens. The result is the same.

    Raises:
        ValueError: an unknown `batch_branches`.
    """

    def __init__(
        self, transformer: SugarTransformer3DModel, tokens: Tokens, batch_branches: BatchBranches = "auto"
    ) -> None:
        if batch_branches not in BATCH_BRANCHES:
            raise ValueError(
                f"batch_branches must be one of {', '.join(BATCH_BRANCHES)}, got {batch_branches!r}"
            )
        self.transformer = transformer
        self.tokens = tokens.to(transformer.device, transformer.dtype)
        self.batch_branches = batch_branches
        self._conditions: dict[tuple[BranchLike, ...], Conditions] = {}
        self._rotary: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(
        self, latents_BFCHW: Tensor, timestep: Tensor, branches: Sequence[BranchLike]
    ) -> list[Tensor]:
        if self._rotary is None:
            _, frames, _, height, width = latents_BFCHW.shape
            self._rotary = self.transformer.rotary_embedding(frames, height, width, latents_BFCHW.device)
        if self._joined(latents_BFCHW, len(branches)):
            return self._predict(latents_BFCHW, timestep, tuple(branches))
        return [self._predict(latents_BFCHW, timestep, (branch,))[0] for branch in branches]

    def _predict(
        self, latents_BFCHW: Tensor, timestep: Tensor, branches: tuple[BranchLike, ...]
    ) -> list[Tensor]:
        conditions = self._conditions.get(branches)
        if conditions is None:
            conditions = self._conditions[branches] = self._embed(branches)
        batch = latents_BFCHW.to(self.transformer.dtype).repeat(len(branches), 1, 1, 1, 1)
        # One cache context for a set of branches: a cached residual fits only the batch that it came from.
        with self.transformer.cache_context(str(branches)):
            prediction = self.transformer(
                batch,
                None,
                timestep.expand(batch.shape[0]),
                image_rotary_emb=self._rotary,
                conditions=conditions,
                return_dict=False,
            )[0]
        return list(prediction.float().chunk(len(branches)))

    def _embed(self, branches: tuple[BranchLike, ...]) -> Conditions:
        clips = self.tokens.text.shape[0]
        texts = [self._text(branch) for branch in branches]

        def keep(kept: list[bool]) -> Tensor:
            return torch.tensor(kept, device=self.tokens.text.device).repeat_interleave(clips)

        def repeated(stream: Tensor | None) -> Tensor | None:
            return None if stream is None else stream.repeat(len(branches), 1, 1)

        kept = {
            "dino": any(branch.dino for branch in branches),
            "clip": any(branch.clip for branch in branches),
            "text": any(branch.text != "null" for branch in branches),
        }
        return self.transformer.embed_conditions(
            torch.cat(texts),
            repeated(self.tokens.dino),
            repeated(self.tokens.clip),
            dino_keep=keep([branch.dino for branch in branches]),
            clip_keep=keep([branch.clip for branch in branches]),
            text_keep=keep([branch.text != "null" for branch in branches]),
            dropped=[stream for stream, is_kept in kept.items() if not is_kept],
        )

    def _text(self, branch: BranchLike) -> Tensor:
        if branch.text != "negative":
            return self.tokens.text
        if self.tokens.negative_text is None:
            raise ValueError("a branch asks for the negative prompt, but no negative_text was given")
        return self.tokens.negative_text

    def _joined(self, latents_BFCHW: Tensor, num_branches: int) -> bool:
        if num_branches == 1 or self.batch_branches != "auto":
            return self.batch_branches != "one"
        if latents_BFCHW.device.type != "cuda":
            return False
        config: Any = self.transformer.config
        batch, frames, _, height, width = latents_BFCHW.shape
        video_tokens = frames // (config.patch_size_t or 1) * height * width // config.patch_size**2
        streams = (self.tokens.text, self.tokens.dino, self.tokens.clip)
        num_tokens = video_tokens + sum(stream.shape[1] for stream in streams if stream is not None)
        inner_dim = config.num_attention_heads * config.attention_head_dim
        element_bytes = torch.finfo(self.transformer.dtype).bits // 8
        needed = num_branches * batch * num_tokens * inner_dim * _WIDTHS_PER_TOKEN * element_bytes
        free, _ = torch.cuda.mem_get_info(latents_BFCHW.device)
        return needed < 0.8 * free
