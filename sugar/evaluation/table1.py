"""SUGAR's Table 1 as published, to be printed beside our own rows and never mixed with them.

The paper names neither its encoders nor its data beyond DreamBench's photos, so no number of ours is
comparable to one of these.
"""

from __future__ import annotations

from typing import NamedTuple

COLUMNS = ("DINO", "CLIP", "ViCLIP", "Dynamic degree", "Subject consistency", "Background consistency")


class PaperRow(NamedTuple):
    """A line of the table: its group, its method, and the six scores in the order of `COLUMNS`."""

    group: str
    method: str
    scores: tuple[float, float, float, float, float, float]


_SINGLE = "Single model"
_SEQUENTIAL = "Subject-driven T2I + I2V"
_SUGAR = "SUGAR (image scale, text scale)"
TABLE_1 = (
    PaperRow(_SINGLE, "VideoBooth", (0.493, 0.266, 0.173, 0.512, 0.938, 0.960)),
    PaperRow(_SINGLE, "DreamVideo", (0.376, 0.296, 0.213, 0.722, 0.875, 0.937)),
    PaperRow(_SINGLE, "Vidu-1.5", (0.654, 0.303, 0.237, 0.645, 0.928, 0.942)),
    PaperRow(_SEQUENTIAL, "+ DynamiCrafter", (0.660, 0.321, 0.260, 0.420, 0.970, 0.971)),
    PaperRow(_SEQUENTIAL, "+ CogVideoX", (0.642, 0.323, 0.264, 0.325, 0.969, 0.967)),
    PaperRow(_SEQUENTIAL, "+ Runway Gen-3", (0.650, 0.326, 0.265, 0.522, 0.944, 0.950)),
    PaperRow(_SEQUENTIAL, "+ Luma Dream Machine", (0.578, 0.320, 0.270, 0.634, 0.915, 0.935)),
    PaperRow(_SUGAR, "7.5, 7.5", (0.742, 0.311, 0.250, 0.608, 0.979, 0.983)),
    PaperRow(_SUGAR, "5.0, 7.5", (0.723, 0.318, 0.262, 0.687, 0.976, 0.981)),
    PaperRow(_SUGAR, "4.0, 7.5", (0.708, 0.322, 0.267, 0.737, 0.972, 0.980)),
    PaperRow(_SUGAR, "3.0, 7.5", (0.684, 0.327, 0.273, 0.757, 0.970, 0.977)),
    PaperRow(_SUGAR, "2.5, 7.5", (0.664, 0.329, 0.275, 0.772, 0.962, 0.974)),
)
# Section 4.3: a model of attention design (a), which cannot see the picture.
DESIGN_A_DINO = 0.339
