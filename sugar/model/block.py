"""CogVideoX's block, with a form for the last one of the network, whose text side nobody reads.

Legend: B batch, L tokens, D width, T time embedding's width.
"""

from __future__ import annotations

from typing import Any

from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from torch import Tensor


class SugarBlock(CogVideoXBlock):
    """`CogVideoXBlock`; under `attention_kwargs["video_only"]` the text side is read but not continued.

    The last block's text side is thrown away by the network: there its queries, its part of the output
    projection and its feed-forward are not computed, for the same prediction and the same gradients.
    """

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video `[B, L, D]`, text side `[B, L, D]`, time `[B, T]` -> video, text side."""
        kwargs = attention_kwargs or {}
        if not kwargs.get("video_only"):
            return super().forward(
                hidden_states, encoder_hidden_states, temb, image_rotary_emb, attention_kwargs
            )
        normed, normed_text, gate, _ = self.norm1(hidden_states, encoder_hidden_states, temb)
        attended, _ = self.attn1(
            hidden_states=normed,
            encoder_hidden_states=normed_text,
            image_rotary_emb=image_rotary_emb,
            **kwargs,
        )
        hidden_states = hidden_states + gate * attended
        normed, _, gate, _ = self.norm2(hidden_states, encoder_hidden_states[:, :0], temb)
        return hidden_states + gate * self.ff(normed), encoder_hidden_states


# Where the caches of diffusers (first-block cache and others) look up what a block returns. Entered by hand:
# `TransformerBlockRegistry.register` imports every transformer of diffusers first.
_METADATA = TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=1)
_METADATA._cls = SugarBlock
TransformerBlockRegistry._registry[SugarBlock] = _METADATA
