"""Nouns by zero-shot CLIP over a vocabulary, and DINO features of photos (SUGAR section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from sugar.data.image_io import BadMedia
from sugar.encoders.features import (
    clip_image_features,
    clip_text_features,
    dino_features,
    load_clip_tokenizer,
)
from sugar.encoders.image import load_clip, load_dino
from sugar.encoders.loading import resolve_device
from sugar.encoders.preprocess import image_size_px

TEMPLATES = ("a photo of a {}.", "a picture of one {}.", "a close-up photo of the {}.")
"""Averaged, as CLIP's own zero-shot classification does (Radford et al. 2021, section 3.1.4)."""
WORDS_IN_ONE_CALL = 256
GREY = 128


class ClipNouns:
    """Names a picture with the noun of a vocabulary whose text CLIP finds nearest.

    Args:
        clip: folder or hub id.
        vocabulary: noun -> category.
        min_probability: of the best noun (softmax over the vocabulary at CLIP's own scale); below it the
            picture has no name.
    """

    def __init__(
        self, clip: str, vocabulary: Mapping[str, str], min_probability: float, device: str = "cpu"
    ) -> None:
        self.model = load_clip(clip, resolve_device(device))
        self.nouns, self.vocabulary = list(vocabulary), vocabulary
        self.min_probability = min_probability
        self.texts = self._text_features(load_clip_tokenizer(clip))

    def __call__(self, image: np.ndarray) -> tuple[str, str]:
        """Noun and category of a uint8 [H, W, 3 or 4] picture.

        Raises:
            BadMedia: "no_noun", no noun is probable enough.
        """
        import torch

        picture = clip_image_features(self.model, on_grey(image)[None])[0].to(self.texts)
        logits = self.model.logit_scale.exp().float().to(self.texts) * (self.texts @ picture)
        probability, best = torch.softmax(logits, dim=0).max(dim=0)
        noun = self.nouns[int(best)]
        if float(probability) < self.min_probability:
            raise BadMedia(
                "no_noun",
                f"the noun must have probability >= {self.min_probability}, "
                f"the best ({noun!r}) has {float(probability):.3f}",
            )
        return noun, self.vocabulary[noun]

    def _text_features(self, tokenizer: object):
        import torch

        parts = []
        for start in range(0, len(self.nouns), WORDS_IN_ONE_CALL):
            nouns = self.nouns[start : start + WORDS_IN_ONE_CALL]
            features = [
                clip_text_features(self.model, tokenizer, [template.format(noun) for noun in nouns])
                for template in TEMPLATES
            ]
            parts.append(torch.nn.functional.normalize(torch.stack(features).sum(dim=0), dim=-1))
        return torch.cat(parts)


class DinoFeatures:
    """DINO's class token of a picture, squeezed to the network's square: float32 [D] of unit length."""

    def __init__(self, dino: str, device: str = "cpu") -> None:
        self.model = load_dino(dino, resolve_device(device))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        side = image_size_px(self.model)
        square = cv2.resize(on_grey(image), (side, side), interpolation=cv2.INTER_AREA)
        return dino_features(self.model, square[None])[0].cpu().numpy()


def on_grey(image: np.ndarray) -> np.ndarray:
    """A picture as uint8 [H, W, 3]; a cut-out is laid on mid-grey."""
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + GREY * (1 - alpha)).astype(np.uint8)
