"""From an image encoder's tokens to the transformer's width.

Legend: B batch, L tokens, E encoder width, D transformer width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OUTPUT_STD = 0.02


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
