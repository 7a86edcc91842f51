"""The subject's two encoders as one component: a cut-out to DINO and CLIP tokens (SUGAR section 3, Figure 2).

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin

from sugar.encoders.image import clip_tokens, dino_tokens, identity_canvases, load_clip, load_dino
from sugar.encoders.preprocess import image_size_px

# A pipeline's loader looks for the name `ModelMixin` in the module of a component.
__all__ = ["ImageConditioner", "ModelMixin", "encoder_folders"]

NAME = "image_conditioner"
"""What a pipeline calls it: its argument and its folder."""

_REFUSED = ("variant", "quantization_config", "use_flashpack")
"""Options of a pipeline's `from_pretrained` that would change the weights, not made for two networks."""


class ImageConditioner(ModelMixin, ConfigMixin):
    """DINO and CLIP of a subject: one network to move, to offload, to save and to load.

    A folder of it holds a folder of each, as transformers saves them: FOLDER/dino, FOLDER/clip.

    Args:
        dino: `Dinov2Model` (or what else `load_dino` reads).
        clip: `CLIPModel`, or its `CLIPVisionModel`.

    Source: SUGAR section 3, Figure 2.
    """

    config_name = "config.json"

    def __init__(self, dino: Any, clip: Any) -> None:
        super().__init__()
        self.dino, self.clip = dino, clip
        self.register_to_config()

    @classmethod
    def load(
        cls,
        dino: str | Path,
        clip: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        subfolders: tuple[str, str] = ("", ""),
    ) -> ImageConditioner:
        """From two folders or hub ids, for inference.

        Raises:
            InputError: one of them is missing, unreadable or another network.
        """
        return cls(
            load_dino(dino, device, dtype, subfolder=subfolders[0]),
            load_clip(clip, device, dtype, subfolder=subfolders[1]),
        )

    @torch.no_grad()
    def forward(self, identities_RGBA: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """DINO and CLIP tokens, float32 `[B, L, D]` each, of cut-out subjects, uint8 `[h, w, 4]` each.

        Raises:
            InputError: a cut-out that shows nothing.
        """
        return (
            dino_tokens(self.dino, identity_canvases(identities_RGBA, image_size_px(self.dino))),
            clip_tokens(self.clip, identity_canvases(identities_RGBA, image_size_px(self.clip))),
        )

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path, safe_serialization: bool = True
    ) -> None:
        """Write FOLDER/config.json, FOLDER/dino and FOLDER/clip.

        Raises:
            ValueError: `safe_serialization` is False: weights are safetensors only.
        """
        if not safe_serialization:
            raise ValueError("weights are written as safetensors only: safe_serialization must be True")
        folder = Path(save_directory)
        self.dino.save_pretrained(folder / "dino")
        self.clip.save_pretrained(folder / "clip")
        self.save_config(folder)

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        subfolder: str = "",
        torch_dtype: torch.dtype | None = None,
        **loading: Any,
    ) -> ImageConditioner:
        """Load what `save_pretrained` wrote, for inference.

        Args:
            pretrained_model_name_or_path: folder or hub id; subfolder: of it.
            torch_dtype: of both networks; None: float32.
            loading: how a pipeline reads its other networks (memory maps, offload folders); not needed here.

        Raises:
            InputError: a network is missing or unreadable.
            ValueError: an option that would change the weights (`variant`, quantisation).
        """
        refused = [name for name in _REFUSED if loading.get(name)]
        if refused:
            raise ValueError(f"an ImageConditioner cannot be loaded with {', '.join(refused)}")
        inside = (f"{subfolder}/dino".lstrip("/"), f"{subfolder}/clip".lstrip("/"))
        source = pretrained_model_name_or_path
        return cls.load(source, source, dtype=torch_dtype or torch.float32, subfolders=inside)


def encoder_folders(pipeline: Path) -> tuple[str, str]:
    """DINO and CLIP of a pipeline's folder: in its image conditioner, or, in older folders, in its own."""
    folder = pipeline / NAME if (pipeline / NAME).is_dir() else pipeline
    return str(folder / "dino"), str(folder / "clip")
