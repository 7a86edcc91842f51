"""`sugar generate`: one picture and one sentence in, one mp4 out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

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
    lora: str | None = None,
    image_scale: float | None = None,
    text_scale: float | None = None,
    negative_prompt: str | None = None,
    num_steps: int | None = None,
    drop_dino_until: float | None = None,
    seed: int = 0,
) -> None:
    """Write a video of the subject of `image`, of the size that the model was trained for.

    Args:
        params: `sampling` gives what is not given here; `networks` the segmenter and the device.
        model: a `SugarPipeline` folder.
        image: picture of the subject; one with transparent parts counts as a cut-out.
        identity: a cut-out with alpha, used in place of segmenting `image`.
        lora: folder or hub id of LoRA weights for the model.

    Raises:
        InputError: a missing or unreadable file, no subject in the picture, an empty text.
    """
    from PIL import Image

    from sugar.data.atomic import write_bytes_atomic
    from sugar.data.video_io import encode_mp4
    from sugar.stages.model_folder import load_pipeline

    if out.suffix.lower() != ".mp4":
        raise InputError(f"--out must end in .mp4, got {out}")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out: the folder {out.absolute().parent} does not exist")
    photo = _load("--image", image, params.source.max_pixels)
    cut_out = None if identity is None else _load("--identity", identity, params.source.max_pixels)
    if cut_out is None and photo.shape[2] == 4 and (photo[..., 3] < 128).any():
        logger.info("%s has transparent parts: it is taken as a cut-out", image)
        cut_out = photo
    if cut_out is None:
        cut_out = _find_subject(params, image, photo[..., :3], noun)
    pipeline = load_pipeline(model, params.networks.device, params.sampling.precision)
    if lora is not None:
        _load_lora(pipeline, lora)
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
    ).frames
    write_bytes_atomic(out, encode_mp4(np.asarray(frames[0]), params.video.fps))


def _load_lora(pipeline: Any, source: str) -> None:
    try:
        pipeline.load_lora_weights(source)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"--lora {source}: {str(error).splitlines()[0]}") from error


def _load(option: str, file: Path, max_pixels: int) -> np.ndarray:
    from sugar.data.image_io import BadMedia, load_image

    try:
        return load_image(
            file, max_pixels=max_pixels, min_side_px=MIN_SIDE_PX, keep_alpha=option == "--identity"
        )
    except (BadMedia, InputError) as error:
        raise InputError(f"{option}: {error}") from error


def _find_subject(params: Params, file: Path, photo: np.ndarray, noun: str) -> np.ndarray:
    """The cut-out of the photo's subject, before the model is loaded: a picture without one fails at once."""
    from sugar.encoders.segmentation import NoSubject, cut_out
    from sugar.pipeline import MIN_SUBJECT_SHARE
    from sugar.stages.scoring import cutter

    if not noun.strip():
        raise InputError("--noun must name the subject of the picture, got an empty text")
    try:
        mask = cutter(params)()(photo, noun).mask
        if (share := float((mask > 127).mean())) < MIN_SUBJECT_SHARE:
            raise NoSubject(f"the subject must cover {MIN_SUBJECT_SHARE} of the picture, got {share:.4f}")
    except NoSubject as error:
        advice = f"crop it so that the {noun} fills most of it, or pass a cut-out with transparency"
        raise InputError(
            f"--image {file}: no {noun} found: {error}; {advice} (--identity CUT.png)"
        ) from error
    return cut_out(photo, mask)
