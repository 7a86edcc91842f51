"""Fill with Stable Diffusion XL inpainting: the missing border is drawn, the picture itself stays."""

from __future__ import annotations

import cv2
import numpy as np

from sugar.synthesis.expand import expand_opencv, fitted_box
from sugar.synthesis.generators import Generator, as_pil, as_uint8, load_generator, noise_sources

KINDS = ("StableDiffusionXLInpaintPipeline",)
SIZE_STEP_PX = 8
STRENGTH = 0.99
"""Of the fill: nearly all noise, so that what OpenCV continued gives no more than its colours."""


class DiffusersExpander:
    """Pictures brought to the aspect of the video.

    The picture is fitted in and its border continued by OpenCV; the pipeline redraws the border at about
    side_px x side_px pixels, of which only the border is taken over.

    Args:
        generator: a `StableDiffusionXLInpaintPipeline`.
        side_px: root of the area that it draws (Stable Diffusion XL was trained at 1024).
    """

    def __init__(self, generator: Generator, side_px: int) -> None:
        self.pipeline = load_generator("generators.expand", generator, KINDS)
        self.generator, self.side_px = generator, side_px

    def __call__(
        self, image_rgb: np.ndarray, text: str, height_px: int, width_px: int, seed: int
    ) -> np.ndarray:
        """The picture uint8 [h, w, 3] inside uint8 [height_px, width_px, 3].

        Args:
            text: what the border shows: the place, not the subject.
        """
        continued = expand_opencv(image_rgb, height_px, width_px)
        box = fitted_box(image_rgb.shape[0], image_rgb.shape[1], height_px, width_px)
        missing = np.full((height_px, width_px), 255, np.uint8)
        missing[box] = 0
        if not missing.any():
            return continued
        scale = self.side_px / (height_px * width_px) ** 0.5
        height, width = (
            max(1, round(side * scale / SIZE_STEP_PX)) * SIZE_STEP_PX for side in (height_px, width_px)
        )
        drawn = self.pipeline(
            prompt=text,
            image=as_pil(cv2.resize(continued, (width, height), interpolation=cv2.INTER_CUBIC)),
            mask_image=as_pil(cv2.resize(missing, (width, height), interpolation=cv2.INTER_NEAREST)),
            height=height,
            width=width,
            strength=STRENGTH,
            num_inference_steps=self.generator.num_steps,
            guidance_scale=self.generator.guidance_scale,
            generator=noise_sources([seed]),
            output_type="np",
        ).images
        border = cv2.resize(
            as_uint8(np.asarray(drawn)[0]), (width_px, height_px), interpolation=cv2.INTER_AREA
        )
        border[box] = continued[box]
        return border
