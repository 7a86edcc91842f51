"""From an image encoder's tokens to the transformer's width.

Legend: B batch, L tokens, E encoder width, D transformer width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OUTPUT_STD = 0.02
LEAST_STD = 0.05
"""Channels that vary less are not blown up beyond this."""


class ImageProjection(nn.Module):
    """LayerNorm and a two-layer perceptron, `[B, L, E] -> [B, L, D]`.

    The output layer starts small and without a bias, so that a new stream's tokens start near those of a
    dropped stream, which are zeros.

    Source: SUGAR section 3 ("different projection layers are applied"). Assumption: decision 0002.
    """

    def __init__(self, encoder_dim: int, hidden_dim: int, output_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(encoder_dim)
        self.linear_1 = nn.Linear(encoder_dim, hidden_dim)
        self.act = nn.GELU(approximate="tanh")
        self.linear_2 = nn.Linear(hidden_dim, output_dim)
        nn.init.normal_(self.linear_2.weight, std=OUTPUT_STD)
        nn.init.zeros_(self.linear_2.bias)

    @torch.no_grad()
    def standardise(self, tokens_NLE: Tensor) -> None:
        """Have the norm's scale and shift give every channel of such tokens mean 0 and variance 1.

        What all subjects' tokens have in common says nothing of this one, and in the tokens of a trained
        encoder it is most of what there is. Called on a new projection, before it is trained.
        """
        normed_MD = nn.functional.layer_norm(tokens_NLE.float(), self.norm.normalized_shape).flatten(0, -2)
        mean_D, std_D = normed_MD.mean(0), normed_MD.std(0).clamp_min(LEAST_STD)
        self.norm.weight.copy_(1 / std_D)
        self.norm.bias.copy_(-mean_D / std_D)

    def forward(self, tokens_BLE: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(self.norm(tokens_BLE))))


def drop_tokens(tokens_BLD: Tensor, keep_B: Tensor | None) -> Tensor:
    """Zeros in place of the tokens of every sample that `keep_B` (bool) does not keep; None keeps all.

    Source: SUGAR section 3.2 "Improved Sampling". Assumption: decision 0003 (zeros after the projection).
    """
    if keep_B is None:
        return tokens_BLD
    if keep_B.shape != tokens_BLD.shape[:1]:
        raise ValueError(
            f"a keep mask must be [{tokens_BLD.shape[0]}], one entry a sample, got {tuple(keep_B.shape)}"
        )
    return tokens_BLD.masked_fill(~keep_B.to(device=tokens_BLD.device, dtype=torch.bool)[:, None, None], 0.0)
