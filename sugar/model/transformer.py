"""SUGAR's transformer: CogVideoX with DINO and CLIP tokens in front of the text.

Sequence `[DINO | CLIP | text | video latents]` (SUGAR section 3, Figure 2). Image tokens take the text side
of CogVideoX's blocks. The tokens are put into the order that the attention design wants once, at the entry,
and back once, at the exit.

Legend: B batch, F latent frames, C channels, H W latent height and width, L tokens, D width, E encoder width.
The transformer is BFCHW.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.peft_utils import apply_lora_scale
from torch import Tensor

from sugar.model.attention import (
    GROUPS,
    IMAGE_GROUPS,
    TEXT_SIDE,
    VIDEO_SIDE,
    resolve_design,
    token_order,
)
from sugar.model.base import read_base, take_weights, transformer_subfolder
from sugar.model.block import SugarBlock
from sugar.model.conditions import Conditions, block_kwargs
from sugar.model.patches import embed_video, unpatchify
from sugar.model.positions import rotary_tables, with_text
from sugar.model.processor import SelectiveAttnProcessor
from sugar.model.projection import ImageProjection, drop_tokens

# A pipeline's loader looks for the name `ModelMixin` in the module of a component.
__all__ = ["Conditions", "ModelMixin", "SugarTransformer3DModel", "transformer_subfolder"]

OFS = 2.0
"""What CogVideoX 1.5 with an `ofs` embedding is always given (diffusers' CogVideoXImageToVideoPipeline)."""
BASE_ARGUMENTS = tuple(inspect.signature(CogVideoXTransformer3DModel.__init__).parameters)[1:]


class SugarTransformer3DModel(CogVideoXTransformer3DModel):
    """A CogVideoX transformer that also reads DINOv2 and CLIP tokens of a subject, under an attention design.

    Args (beyond `CogVideoXTransformer3DModel`'s):
        dino_dim, clip_dim: widths E of the image encoders' tokens; None: the model has no such stream.
        attention_design: "a".."e", or a table group -> groups read (`sugar.model.attention`).
        projection_hidden: hidden width of the image projections; None: the transformer's width.

    Source: SUGAR sections 3 and 3.2. Assumption: decisions 0002, 0003, 0004.
    """

    _repeated_blocks = ["SugarBlock"]
    _no_split_modules = ["SugarBlock", "CogVideoXPatchEmbed"]

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 30,
        attention_head_dim: int = 64,
        in_channels: int = 16,
        out_channels: int | None = 16,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        time_embed_dim: int = 512,
        ofs_embed_dim: int | None = None,
        text_embed_dim: int = 4096,
        num_layers: int = 30,
        dropout: float = 0.0,
        attention_bias: bool = True,
        sample_width: int = 90,
        sample_height: int = 60,
        sample_frames: int = 49,
        patch_size: int = 2,
        patch_size_t: int | None = None,
        temporal_compression_ratio: int = 4,
        max_text_seq_length: int = 226,
        activation_fn: str = "gelu-approximate",
        timestep_activation_fn: str = "silu",
        norm_elementwise_affine: bool = True,
        norm_eps: float = 1e-5,
        spatial_interpolation_scale: float = 1.875,
        temporal_interpolation_scale: float = 1.0,
        use_rotary_positional_embeddings: bool = False,
        use_learned_positional_embeddings: bool = False,
        patch_bias: bool = True,
        dino_dim: int | None = 1024,
        clip_dim: int | None = 1024,
        attention_design: str | dict[str, list[str]] = "b",
        projection_hidden: int | None = None,
    ) -> None:
        arguments = locals()
        super().__init__(**{name: arguments[name] for name in BASE_ARGUMENTS})
        inner_dim = num_attention_heads * attention_head_dim
        self.inner_dim = inner_dim
        hidden_dim = projection_hidden or inner_dim
        self.dino_proj = ImageProjection(dino_dim, hidden_dim, inner_dim) if dino_dim else None
        self.clip_proj = ImageProjection(clip_dim, hidden_dim, inner_dim) if clip_dim else None
        self.design = resolve_design(attention_design)
        self.token_order = token_order(self.design)
        blocks: Any = self.transformer_blocks
        for block in blocks:
            block.__class__ = SugarBlock
            block.attn1.set_processor(SelectiveAttnProcessor())

    @property
    def reads_image(self) -> bool:
        """Whether the video's tokens can see the image's through any number of layers."""
        return bool(self.design.reached_by(VIDEO_SIDE) & set(IMAGE_GROUPS))

    @property
    def _first_frame_last(self) -> bool:
        return self.token_order[-1] == "first_frame"

    def embed_conditions(
        self,
        encoder_hidden_states: Tensor | None,
        dino_tokens: Tensor | None = None,
        clip_tokens: Tensor | None = None,
        dino_keep: Tensor | None = None,
        clip_keep: Tensor | None = None,
        text_keep: Tensor | None = None,
        dropped: Collection[str] = (),
    ) -> Conditions:
        """Project the streams and put them into the model's order; a sample that is not kept gets zeros.

        Args:
            encoder_hidden_states: `[B, L, E]` text; None leaves the stream out.
            dino_tokens, clip_tokens: `[B, L, E]`; None leaves the stream out.
            dino_keep, clip_keep, text_keep: bool `[B]`; None keeps all.
            dropped: streams that no sample keeps, of "dino", "clip", "text". Their null tokens are equal and
                stay equal through all layers, so that one stands for all, for the same result.

        Raises:
            ValueError: no stream at all, a stream that the model has no projection for, or a wrong width.

        Without gradients, streams that the design never lets the video see are left out, for the same result.
        """
        streams = {
            "dino": (self.dino_proj, dino_tokens, dino_keep),
            "clip": (self.clip_proj, clip_tokens, clip_keep),
            "text": (self._project_text, encoder_hidden_states, text_keep),
        }
        reached = GROUPS if torch.is_grad_enabled() else self.design.reached_by(VIDEO_SIDE)
        tokens, lengths, copies = [], {}, {}
        for group in self.token_order[: len(TEXT_SIDE)]:
            projection, tokens_BLE, keep_B = streams[group]
            if tokens_BLE is None or group not in reached:
                continue
            if projection is None:
                raise ValueError(f"{group} tokens were given, but the model was built with {group}_dim=None")
            if group in dropped:
                copies[group] = tokens_BLE.shape[1]
                tokens_BLD = tokens_BLE.new_zeros(tokens_BLE.shape[0], 1, self.inner_dim)
            else:
                tokens_BLD = drop_tokens(projection(tokens_BLE), keep_B)
            tokens.append(tokens_BLD)
            lengths[group] = tokens_BLD.shape[1]
        if not tokens:
            raise ValueError("at least one of encoder_hidden_states, dino_tokens, clip_tokens must be given")
        return Conditions(tokens[0] if len(tokens) == 1 else torch.cat(tokens, dim=1), lengths, copies)

    def _project_text(self, text_BLE: Tensor) -> Tensor:
        embed: Any = self.patch_embed
        text_BLD = embed.text_proj(text_BLE)
        if embed.use_learned_positional_embeddings:
            text_BLD = text_BLD + embed.pos_embedding[:, : text_BLD.shape[1]].to(text_BLD.dtype)
        return text_BLD

    def rotary_embedding(
        self, frames: int, height: int, width: int, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Rotary tables `[L, K]` for latents of F x H x W, in raster order; None for a sinusoidal model."""
        config: Any = self.config
        if not config.use_rotary_positional_embeddings:
            return None
        p, p_t = config.patch_size, config.patch_size_t
        return rotary_tables(
            config.attention_head_dim,
            (math.ceil(frames / (p_t or 1)), height // p, width // p),
            (config.sample_height // p, config.sample_width // p),
            temporal_patches=p_t is not None,
            device=device,
        )

    def _rotary(
        self, image_rotary_emb: tuple[Tensor, Tensor] | None, latents_BFCHW: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        if image_rotary_emb is not None:
            return image_rotary_emb
        _, frames, _, height, width = latents_BFCHW.shape
        return self.rotary_embedding(frames, height, width, latents_BFCHW.device)

    @apply_lora_scale("attention_kwargs")
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None,
        timestep: Tensor,
        dino_tokens: Tensor | None = None,
        clip_tokens: Tensor | None = None,
        dino_keep: Tensor | None = None,
        clip_keep: Tensor | None = None,
        text_keep: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        return_dict: bool = True,
        *,
        conditions: Conditions | None = None,
        timestep_cond: Tensor | None = None,
        ofs: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict the velocity of noisy latents.

        Args:
            hidden_states: latents `[B, F, C, H, W]`.
            timestep: `[B]` integers.
            image_rotary_emb: tables of `rotary_embedding`; computed where None and the model is rotary.
            ofs: `[1]`, of a model with such an embedding; None: 2, the value it is always given.
            conditions: what `embed_conditions` returned, in place of the streams and keep masks.
            Others: see `embed_conditions` and `CogVideoXTransformer3DModel.forward`.

        Returns:
            `[B, F, C, H, W]` in `.sample`.

        Raises:
            ValueError: both streams and `conditions` are given; see `embed_conditions`.
        """
        streams = (encoder_hidden_states, dino_tokens, clip_tokens, dino_keep, clip_keep, text_keep)
        if conditions is None:
            conditions = self.embed_conditions(*streams)
        elif any(stream is not None for stream in streams):
            raise ValueError("give either conditions or the streams that they are made of, not both")
        config: Any = self.config
        emb_BT = self._embed_time(timestep, hidden_states.dtype, timestep_cond, ofs)

        video_BLD = self.embedding_dropout(embed_video(self.patch_embed, hidden_states))
        image_BLD = conditions.tokens_BLD
        rotary: Any = self._rotary(image_rotary_emb, hidden_states)
        frame_tokens = math.prod(hidden_states.shape[3:]) // config.patch_size**2
        if self._first_frame_last:
            video_BLD = torch.roll(video_BLD, -frame_tokens, dims=1)
            rotary = rotary and tuple(torch.roll(table, -frame_tokens, dims=0) for table in rotary)
        lengths = {
            **conditions.lengths,
            "first_frame": frame_tokens,
            "other_frames": video_BLD.shape[1] - frame_tokens,
        }
        num_blocks = len(self.transformer_blocks)
        kwargs_of_blocks = block_kwargs(
            self.design, self.token_order, lengths, conditions.copies, num_blocks, attention_kwargs
        )
        rotary = rotary and with_text(rotary, image_BLD.shape[1])
        checkpoint: Any = self._gradient_checkpointing_func if self.gradient_checkpointing else None
        for block, kwargs in zip(self.transformer_blocks, kwargs_of_blocks, strict=True):
            arguments = (video_BLD, image_BLD, emb_BT, rotary, kwargs)
            if torch.is_grad_enabled() and checkpoint is not None:
                video_BLD, image_BLD = checkpoint(block, *arguments)
            else:
                video_BLD, image_BLD = block(*arguments)
        video_BLD = self.proj_out(self.norm_out(self.norm_final(video_BLD), temb=emb_BT))
        if self._first_frame_last:
            video_BLD = torch.roll(video_BLD, frame_tokens, dims=1)
        sample = unpatchify(video_BLD, hidden_states.shape, config.patch_size, config.patch_size_t)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _embed_time(
        self, timestep: Tensor, dtype: torch.dtype, cond: Tensor | None, ofs: Tensor | None
    ) -> Tensor:
        emb_BT = self.time_embedding(self.time_proj(timestep).to(dtype), cond)
        if self.ofs_embedding is not None and self.ofs_proj is not None:
            ofs = timestep.new_full((1,), OFS) if ofs is None else ofs
            emb_BT = emb_BT + self.ofs_embedding(self.ofs_proj(ofs).to(dtype))
        return emb_BT

    def fuse_qkv_projections(self) -> None:
        """One matrix in place of the three of queries, keys and values; the design stays in force."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.fuse_projections(fuse=True)

    def unfuse_qkv_projections(self) -> None:
        """Take `fuse_qkv_projections` back."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.fused_projections = False

    def set_attn_processor(self, processor: Any) -> None:
        """As in diffusers, for processors that take a `plan`.

        Raises:
            ValueError: one that does not, and would let every token read every other.
        """
        given = processor.values() if isinstance(processor, dict) else [processor]
        for each in given:
            if "plan" not in inspect.signature(each.__call__).parameters:
                raise ValueError(
                    f"an attention processor must take a plan (SelectiveAttnProcessor does), "
                    f"{type(each).__name__} would ignore the attention design"
                )
        super().set_attn_processor(processor)

    def freeze_first(self, fraction: float) -> list[str]:
        """Stop training the first blocks, `[0, floor(fraction * blocks))`, and what feeds them.

        Frozen besides the blocks: `patch_embed` and `time_embedding` (and `ofs_embedding`). The image
        projections stay trainable. A fraction of 0 freezes nothing.

        Returns:
            The names of the frozen parameters.

        Raises:
            ValueError: the fraction is outside [0, 1].

        Source: SUGAR section 3.2 "SUGAR-TSF". Assumption: decision 0006 (what besides the blocks is frozen).
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"frozen_fraction must be within [0, 1], got {fraction}")
        if fraction == 0.0:
            return []
        num_blocks = math.floor(len(self.transformer_blocks) * fraction)
        prefixes = ("patch_embed.", "time_embedding.", "ofs_embedding.")
        prefixes += tuple(f"transformer_blocks.{index}." for index in range(num_blocks))
        frozen = [name for name, _ in self.named_parameters() if name.startswith(prefixes)]
        for name in frozen:
            self.get_parameter(name).requires_grad_(False)
        return frozen

    @classmethod
    def from_cogvideox(
        cls,
        base: str | Path | CogVideoXTransformer3DModel,
        *,
        dino_dim: int | None,
        clip_dim: int | None,
        attention_design: str | dict[str, list[str]] = "b",
        projection_hidden: int | None = None,
        torch_dtype: torch.dtype | None = None,
    ) -> SugarTransformer3DModel:
        """A model whose base weights are a CogVideoX checkpoint's and whose projections are new.

        Args:
            base: a transformer, a folder or hub id of one, or of a pipeline with a `transformer` subfolder.
            Others: see the class.

        Raises:
            ValueError: a folder without a transformer, or weights that do not fit.
        """
        base = read_base(base, torch_dtype)
        config = {name: base.config[name] for name in BASE_ARGUMENTS}
        model = cls(
            **config,
            dino_dim=dino_dim,
            clip_dim=clip_dim,
            attention_design=attention_design,
            projection_hidden=projection_hidden,
        )
        take_weights(model, base)
        if model.dtype != base.dtype:
            torch.nn.Module.to(model, base.dtype)
        return model
