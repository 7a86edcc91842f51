"""One picture and one sentence in, one mp4 out: what `sugar generate` and `sugar studio` do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sugar.box import Box, Corners
from sugar.config import InputError, Params

logger = logging.getLogger(__name__)

MIN_SIDE_PX = 16


def generate_file(
    params: Params,
    *,
    model: Path,
    image: Path,
    noun: str,
    prompt: str,
    out: Path,
    identity: Path | None = None,
    box: Corners | None = None,
    lora: str | None = None,
    **settings: Any,
) -> None:
    """Write a video of the subject of `image`, of the size that the model was trained for.

    Args:
        params: `sampling` gives what is not given here; `networks` the segmenter and the device.
        model: a `SugarPipeline` folder.
        image: picture of the subject; one with transparent parts counts as a cut-out.
        identity: a cut-out with alpha, used in place of segmenting `image`.
        box: where the subject is in `image`, in pixels.
        lora: folder or hub id of LoRA weights for the model.
        settings: of `make_video`.

    Raises:
        InputError: a missing or unreadable file, no subject in the picture, an empty text.
    """
    from sugar.data.atomic import write_bytes_atomic

    if out.suffix.lower() != ".mp4":
        raise InputError(f"--out must end in .mp4, got {out}")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out: the folder {out.absolute().parent} does not exist")
    cut_out = read_subject(params, image, noun, identity, box)
    pipeline = open_model(params, model, lora)
    write_bytes_atomic(out, make_video(params, pipeline, cut_out, noun=noun, prompt=prompt, **settings))


def open_model(params: Params, model: Path, lora: str | None = None) -> Any:
    """The pipeline of a folder, with LoRA weights where they are given.

    Raises:
        InputError: no such folder, not a `SugarPipeline`, LoRA weights that do not fit.
    """
    from sugar.stages.model_folder import load_pipeline

    pipeline = load_pipeline(model, params.networks.device, params.sampling.precision)
    if lora is not None:
        try:
            pipeline.load_lora_weights(lora)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"--lora {lora}: {str(error).splitlines()[0]}") from error
    return pipeline


def read_subject(
    params: Params,
    image: Path | bytes,
    noun: str,
    identity: Path | None = None,
    box: Corners | None = None,
) -> np.ndarray:
    """The cut-out of the subject, uint8 `[H, W, 4]`: `identity`, a transparent `image`, or what is found.

    No model is loaded for it: a picture without a subject fails at once.

    Args:
        box: where the subject is in `image`, in pixels.

    Raises:
        InputError: a missing or unreadable file, no noun, no subject in the picture; a box that is not in the
            picture, or beside a cut-out, which needs none.
    """
    if identity is not None and box is not None:
        raise InputError("--box is for --image; a cut-out (--identity) needs none")
    photo = _load("--image", image, params.source.max_pixels)
    if identity is not None:
        return _load("--identity", identity, params.source.max_pixels, keep_alpha=True)
    if photo.shape[2] == 4 and (photo[..., 3] < 128).any():
        if box is not None:
            raise InputError("box: the picture has transparent parts, so it is a cut-out and needs none")
        logger.info("the picture has transparent parts: it is taken as a cut-out")
        return photo
    return _find_subject(params, image, photo[..., :3], noun, box)


def make_video(
    params: Params,
    pipeline: Any,
    cut_out: np.ndarray,
    *,
    noun: str,
    prompt: str,
    image_scale: float | None = None,
    text_scale: float | None = None,
    negative_prompt: str | None = None,
    num_steps: int | None = None,
    drop_dino_until: float | None = None,
    seed: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> bytes:
    """The mp4 of a subject's cut-out and a sentence.

    Args:
        params: `sampling` gives what is None.
        pipeline: a `SugarPipeline`.
        on_step: called with the number of sampling steps done.

    Raises:
        InputError: an empty or overlong prompt.
    """
    from PIL import Image

    from sugar.data.video_io import encode_mp4

    def step_end(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(step + 1)
        return tensors

    sampling = params.sampling
    frames = pipeline(
        identity=Image.fromarray(cut_out),
        prompt=prompt,
        noun=noun,
        negative_prompt=sampling.negative_prompt if negative_prompt is None else negative_prompt,
        num_inference_steps=sampling.num_steps if num_steps is None else num_steps,
        image_scale=sampling.image_scale if image_scale is None else image_scale,
        text_scale=sampling.text_scale if text_scale is None else text_scale,
        order=sampling.order,
        drop=sampling.drop if drop_dino_until is None else "dino",
        drop_until=sampling.drop_until if drop_dino_until is None else drop_dino_until,
        guidance_interval=sampling.guidance.interval,
        dynamic_guidance=sampling.guidance.dynamic,
        guidance_rescale=sampling.guidance.rescale,
        batch_branches=sampling.guidance.batch_branches,
        scheduler=sampling.scheduler,
        seed=seed,
        output_type="uint8",
        callback_on_step_end=step_end,
    ).frames
    return encode_mp4(np.asarray(frames[0]), params.video.fps)


def _load(option: str, source: Path | bytes, max_pixels: int, keep_alpha: bool = False) -> np.ndarray:
    from sugar.data.image_io import BadMedia, load_image

    try:
        return load_image(source, max_pixels=max_pixels, min_side_px=MIN_SIDE_PX, keep_alpha=keep_alpha)
    except (BadMedia, InputError) as error:
        raise InputError(str(error) if isinstance(source, bytes) else f"{option}: {error}") from error


def _find_subject(
    params: Params, source: Path | bytes, photo: np.ndarray, noun: str, corners: Corners | None
) -> np.ndarray:
    from sugar.encoders.segmentation import NoSubject, cut_out
    from sugar.pipeline import MIN_SUBJECT_SHARE
    from sugar.stages.scoring import cutter

    if not noun.strip():
        named = "noun" if isinstance(source, bytes) else "--noun"
        raise InputError(f"{named} must name the subject of the picture, got an empty text")
    try:
        box = None if corners is None else Box.of(corners, *photo.shape[:2])
    except ValueError as error:
        raise InputError(str(error) if isinstance(source, bytes) else f"--image {source}: {error}") from error
    try:
        mask = cutter(params)()(photo, noun, box=box).mask
        if (share := float((mask > 127).mean())) < MIN_SUBJECT_SHARE:
            raise NoSubject(f"the subject must cover {MIN_SUBJECT_SHARE} of the picture, got {share:.4f}")
    except NoSubject as error:
        if isinstance(source, bytes):
            where, advice = "", f"draw a box around the {noun}, or take a cut-out with transparency"
        else:
            where, advice = f"--image {source}: ", "say where it is (--box), or pass a cut-out (--identity)"
        raise InputError(f"{where}no {noun} found: {error}; {advice}") from error
    return cut_out(photo, mask)
