"""Grounded SAM: GroundingDINO finds the noun, SAM 2 cuts it out (Ren et al. 2024; SUGAR section 3).

Pictures are prepared here in torch: SAM 2's own image processor cannot be imported without torchvision.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional

from sugar.box import Box
from sugar.config import InputError
from sugar.encoders.loading import load_network, load_tokenizer
from sugar.encoders.preprocess import IMAGENET, to_pixels
from sugar.encoders.segmentation import NoSubject, Segmentation

if TYPE_CHECKING:
    from collections.abc import Sequence

# GroundingDINO was trained with the short side at 800 px and the long side at most 1333.
DETECTOR_SHORT_PX = 800
DETECTOR_LONG_PX = 1333
_EDGE_SOFTNESS = 0.2


class GroundedSamSegmenter:
    """The subject that the noun names.

    The score is the detector's confidence in the box times the segmenter's own estimate of its mask's
    quality.

    Args:
        detector: a `GroundingDinoForObjectDetection`.
        tokenizer: the detector's.
        segmenter: a `Sam2Model`.
        box_threshold: least confidence of a box.
        mask_threshold: probability at which a pixel is half in the mask.
        min_mask_quality: least overlap with the truth (IoU) that the segmenter predicts of its mask.
        detector_size_px: short and longest long side of the picture shown to the detector.
    """

    def __init__(
        self,
        detector: Any,
        tokenizer: Any,
        segmenter: Any,
        *,
        box_threshold: float = 0.35,
        mask_threshold: float = 0.5,
        min_mask_quality: float = 0.0,
        detector_size_px: tuple[int, int] = (DETECTOR_SHORT_PX, DETECTOR_LONG_PX),
    ) -> None:
        self.detector = detector
        self.tokenizer = tokenizer
        self.segmenter = segmenter
        self.box_threshold = box_threshold
        self.mask_threshold = mask_threshold
        self.min_mask_quality = min_mask_quality
        self.detector_size_px = detector_size_px

    @classmethod
    def from_pretrained(
        cls,
        detector: str | Path,
        segmenter: str | Path,
        *,
        device: str | torch.device = "cpu",
        **settings: Any,
    ) -> GroundedSamSegmenter:
        """Both networks from folders or hub ids; `settings` are the class's own thresholds and sizes."""
        from transformers import GroundingDinoForObjectDetection, Sam2Model

        return cls(
            load_network(GroundingDinoForObjectDetection, detector, device=device),
            load_tokenizer(detector),
            load_network(Sam2Model, segmenter, device=device),
            **settings,
        )

    @torch.no_grad()
    def __call__(
        self,
        image_rgb: np.ndarray,
        noun: str,
        *,
        prior_HW: np.ndarray | None = None,
        usual_HWC: np.ndarray | None = None,
        box: Box | None = None,
    ) -> Segmentation:
        """The subject of a uint8 [H, W, 3] picture; the noun alone says what to find, or the box where it is.

        Raises:
            NoSubject: when no box reaches the threshold, or its mask is empty or of low quality.
            InputError: for an empty noun.
        """
        if not noun.strip():
            raise InputError("Grounded SAM needs the subject's noun, got an empty one")
        if box is None:
            corners, confidence = self._detect(image_rgb, noun)
        else:
            corners, confidence = torch.tensor(box), 1.0
        if confidence < self.box_threshold:
            raise NoSubject(
                f"no {noun!r} found: box_threshold is {self.box_threshold}, the best box has {confidence:.3f}"
            )
        probability, quality = self._segment(image_rgb, corners)
        if quality < self.min_mask_quality:
            raise NoSubject(
                f"no sure mask of {noun!r}: min_mask_quality is {self.min_mask_quality}, got {quality:.3f}",
                "unsure_mask",
            )
        alpha = ((probability - self.mask_threshold) / _EDGE_SOFTNESS + 0.5).clamp(0.0, 1.0)
        mask = (alpha * 255).round().to(torch.uint8).cpu().numpy()
        if box is not None:
            mask *= box.inside(*mask.shape)
        if not (mask > 127).any():
            raise NoSubject(f"the mask of {noun!r} is empty at mask_threshold {self.mask_threshold}")
        return Segmentation(mask, float(np.clip(confidence * quality, 0.0, 1.0)))

    def _detect(self, image_rgb: np.ndarray, noun: str) -> tuple[torch.Tensor, float]:
        """The most confident box as shares of the picture (left, top, right, bottom), and its confidence."""
        height, width = image_rgb.shape[:2]
        short, long = self.detector_size_px
        scale = min(short / min(height, width), long / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        # GroundingDINO reads lower-case phrases, each ended by a full stop.
        tokens = self.tokenizer([f"{noun.strip().lower()}."], return_tensors="pt").to(self.detector.device)
        outputs = self.detector(pixel_values=_pixels(image_rgb, size, self.detector), **tokens)
        scores = outputs.logits[0].sigmoid().amax(dim=-1)
        best = int(scores.argmax())
        x, y, w, h = outputs.pred_boxes[0, best].float().clamp(0.0, 1.0)
        box = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2]).clamp(0.0, 1.0)
        return box, float(scores[best])

    def _segment(self, image_rgb: np.ndarray, box: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Probability of the subject at each pixel [H, W], and the predicted overlap with the truth."""
        side = self.segmenter.config.prompt_encoder_config.image_size
        height, width = (side, side) if isinstance(side, int) else (side[0], side[1])
        corners = box * torch.tensor([width, height, width, height], device=box.device)
        outputs = self.segmenter(
            pixel_values=_pixels(image_rgb, (height, width), self.segmenter),
            input_boxes=corners[None, None].to(self.segmenter.device),
            multimask_output=False,
        )
        logits = functional.interpolate(
            outputs.pred_masks[0].float(), size=image_rgb.shape[:2], mode="bilinear", align_corners=False
        )
        return logits[0, 0].sigmoid(), float(outputs.iou_scores.flatten()[0])


def _pixels(image_rgb: np.ndarray, size: Sequence[int], network: Any) -> torch.Tensor:
    """A picture resized (bilinear, antialiased) and normalised as both networks want it: [1, 3, h, w]."""
    pixels = to_pixels(image_rgb[None], network.device)
    pixels = functional.interpolate(
        pixels, size=tuple(size), mode="bilinear", align_corners=False, antialias=True
    ).clamp(0.0, 255.0)
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in IMAGENET)
    return ((pixels / 255.0 - mean) / std).to(network.dtype)
