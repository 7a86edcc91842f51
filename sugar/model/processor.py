"""The attention processor of the blocks: CogVideoX's, with a plan of mask-free calls in place of one call.

Legend: B batch, L tokens, D width, N heads, K head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from sugar.model.attention import AttentionCall, run_plan


class SelectiveAttnProcessor:
    """Self-attention over `[text side | video side]` under a plan of `attention_plan`.

    It goes through diffusers' attention dispatcher, so `set_attention_backend` and the `attention_backend`
    context choose the kernel. The rotary tables cover the whole sequence (1 and 0 on the text side).
    """

    _attention_backend: Any = None
    _parallel_config: Any = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        plan: Sequence[AttentionCall] = (),
    ) -> tuple[Tensor, Tensor]:
        if attention_mask is not None:
            raise ValueError("SelectiveAttnProcessor takes a plan in place of an attention_mask")
        text_length = encoder_hidden_states.shape[1]
        joint_BLD = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query_BLNK, key_BLNK, value_BLNK = (
            linear(joint_BLD).unflatten(-1, (attn.heads, -1)) for linear in (attn.to_q, attn.to_k, attn.to_v)
        )
        if attn.norm_q is not None:
            query_BLNK = attn.norm_q(query_BLNK)
        if attn.norm_k is not None:
            key_BLNK = attn.norm_k(key_BLNK)
        if image_rotary_emb is not None:
            rotate: Any = apply_rotary_emb
            query_BLNK = rotate(query_BLNK, image_rotary_emb, sequence_dim=1)
            key_BLNK = rotate(key_BLNK, image_rotary_emb, sequence_dim=1)
        dtype = query_BLNK.dtype
        if query_BLNK.device.type == "cpu" and dtype == torch.bfloat16:
            # The backward of the CPU's bfloat16 kernel is eight times slower than that of float32.
            query_BLNK, key_BLNK, value_BLNK = query_BLNK.float(), key_BLNK.float(), value_BLNK.float()
        out_BLNK = run_plan(query_BLNK, key_BLNK, value_BLNK, plan, self._attend, dim=1)
        out_BLD = attn.to_out[1](attn.to_out[0](out_BLNK.to(dtype).flatten(2)))
        return out_BLD[:, text_length:], out_BLD[:, :text_length]

    def _attend(self, query_BLNK: Tensor, key_BLNK: Tensor, value_BLNK: Tensor) -> Tensor:
        return dispatch_attention_fn(query_BLNK, key_BLNK, value_BLNK, backend=self._attention_backend)
