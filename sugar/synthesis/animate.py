"""Image to video: mostly still subjects under a mild camera move, as the paper's synthetic clips are."""

import cv2
import numpy as np

from sugar.sprites import render_clip
from sugar.synthesis.customize import Customized
from sugar.synthesis.prompts import STILL, Prompt

PAN_ZOOM = 1.14
PAN_REACH = 0.06
ZOOM_REACH = 0.18


def animate_procedural(scene: Customized, prompt: Prompt, num_frames: int, seed: int) -> np.ndarray:
    """Clip of a customised image: uint8 [num_frames, H, W, 3], a pure function of its arguments.

    With layers, the subject moves as the prompt says and the camera moves over the place; a flat picture
    gets the camera move alone.

    Raises:
        ValueError: num_frames < 1, or a motion of the subject is asked of a flat picture.
    """
    if scene.subject is not None and scene.background is not None:
        return render_clip(
            scene.subject,
            scene.background,
            prompt.motion,
            num_frames,
            seed,
            subject_scale=scene.subject_scale,
            camera=prompt.camera,
        )
    if prompt.motion != STILL:
        raise ValueError(f"motion must be {STILL!r} for a picture without layers, got {prompt.motion!r}")
    return camera_over(scene.image, prompt.camera, num_frames, seed)


def camera_over(image_rgb: np.ndarray, camera: str, num_frames: int, seed: int) -> np.ndarray:
    """Mild pan or zoom over a flat picture: uint8 [num_frames, H, W, 3]; the direction comes from the seed.

    Raises:
        ValueError: num_frames < 1 or a camera other than "none", "pan" and "zoom".
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be >= 1, got {num_frames}")
    if camera not in ("none", "pan", "zoom"):
        raise ValueError(f"camera must be one of none, pan, zoom, got {camera!r}")
    height, width = image_rgb.shape[:2]
    forward = bool(np.random.default_rng(seed).random() < 0.5)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for k, t in enumerate(np.linspace(0.0, 1.0, num_frames)):
        time = t if forward else 1 - t
        zoom = {"none": 1.0, "pan": PAN_ZOOM, "zoom": 1 + ZOOM_REACH * time}[camera]
        shift = PAN_REACH * (2 * time - 1) * width if camera == "pan" else 0.0
        move = np.array([[zoom, 0, width / 2 * (1 - zoom) + shift], [0, zoom, height / 2 * (1 - zoom)]])
        frames[k] = cv2.warpAffine(image_rgb, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return frames
