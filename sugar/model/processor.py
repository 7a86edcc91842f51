"""The attention processor of the blocks: CogVideoX's, with a plan of mask-free calls in place of one call.

Legend: B batch, L tokens, D width, N heads, K head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,
    dispatch_attention_fn,
)
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from sugar.model.attention import AttentionPlan, Span, repeat_keys, run_plan
from sugar.model.by_readers import attend_by_readers, readers_pay


class SelectiveAttnProcessor:
    """Self-attention over `[text side | video side]` under a plan of `attention_plan`.

    It goes through diffusers' attention dispatcher, so `set_attention_backend` and the `attention_backend`
    context choose the kernel; "flex" takes one call with a block mask in place of one per key set
    (`sugar.model.flex`). The rotary tables cover the whole sequence (1 and 0 on the text side).
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
        *,
        plan: AttentionPlan,
        key_copies: Sequence[tuple[Span, int]] = (),
        video_only: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Attend under `plan` (`attention_plan`) and `key_copies` (`repeat_keys`).

        Under `video_only` the text side is read but does not ask, and its own output is empty.
        """
        if attention_mask is not None:
            raise ValueError("SelectiveAttnProcessor takes a plan in place of an attention_mask")
        joint_BLD = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        text_length = 0 if video_only else encoder_hidden_states.shape[1]
        query_BLNK, key_BLNK, value_BLNK = self._project(
            attn, hidden_states if video_only else joint_BLD, joint_BLD
        )
        if attn.norm_q is not None:
            query_BLNK = attn.norm_q(query_BLNK)
        if attn.norm_k is not None:
            key_BLNK = attn.norm_k(key_BLNK)
        if image_rotary_emb is not None:
            rotate: Any = apply_rotary_emb
            asking = tuple(table[-query_BLNK.shape[1] :] for table in image_rotary_emb)
            query_BLNK = rotate(query_BLNK, asking, sequence_dim=1)
            key_BLNK = rotate(key_BLNK, image_rotary_emb, sequence_dim=1)
        dtype = query_BLNK.dtype
        if query_BLNK.device.type == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
            # The backward of the CPU's bfloat16 kernel is eight times slower than that of float32.
            query_BLNK, key_BLNK, value_BLNK = query_BLNK.float(), key_BLNK.float(), value_BLNK.float()
        key_BLNK, value_BLNK = (repeat_keys(each, key_copies, dim=1) for each in (key_BLNK, value_BLNK))
        query_BNLK, key_BNLK, value_BNLK = (
            each.transpose(1, 2) for each in (query_BLNK, key_BLNK, value_BLNK)
        )
        if self._attention_backend == AttentionBackendName.FLEX:
            from sugar.model.flex import flex_selective_attention

            out_BLNK = flex_selective_attention(query_BNLK, key_BNLK, value_BNLK, plan).transpose(1, 2)
        elif readers_pay(query_BNLK, plan) and self._takes_torchs_choice():
            out_BLNK = attend_by_readers(query_BNLK, key_BNLK, value_BNLK, plan).transpose(1, 2)
        else:
            out_BLNK = run_plan(query_BLNK, key_BLNK, value_BLNK, plan, self._attend, dim=1)
        out_BLD = attn.to_out[1](attn.to_out[0](out_BLNK.to(dtype).flatten(2)))
        return out_BLD[:, text_length:], out_BLD[:, :text_length]

    @staticmethod
    def _project(attn: Any, asking_BLD: Tensor, joint_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `[B, L, N, K]`; from one matrix after `fuse_qkv_projections`."""
        if attn.fused_projections:
            query_BLD, key_BLD, value_BLD = attn.to_qkv(joint_BLD).chunk(3, dim=-1)
            query_BLD = query_BLD[:, -asking_BLD.shape[1] :]
        else:
            query_BLD, key_BLD, value_BLD = attn.to_q(asking_BLD), attn.to_k(joint_BLD), attn.to_v(joint_BLD)
        heads = attn.heads
        return tuple(each.unflatten(-1, (heads, -1)) for each in (query_BLD, key_BLD, value_BLD))  # pyright: ignore[reportReturnType]

    def _takes_torchs_choice(self) -> bool:
        """Whether neither `set_attention_backend` nor the context `attention_backend` names a kernel."""
        backend: Any = self._attention_backend
        if backend is None:
            backend, _ = _AttentionBackendRegistry.get_active_backend()
        return AttentionBackendName(backend) == AttentionBackendName.NATIVE

    def _attend(self, query_BLNK: Tensor, key_BLNK: Tensor, value_BLNK: Tensor) -> Tensor:
        return dispatch_attention_fn(query_BLNK, key_BLNK, value_BLNK, backend=self._attention_backend)
