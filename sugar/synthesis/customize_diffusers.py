"""Customised images with the subject-driven pipelines of diffusers (SUGAR section 3.1).

The paper asks a pretrained customisation model for the subject in a new style and place. Two kinds are known:
editing models that read the subject's picture beside an instruction (FLUX Kontext, Qwen-Image-Edit), and
Stable Diffusion XL with an IP-Adapter. Several candidates are drawn for a prompt and the best is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.data.key_seed import key_seed
from sugar.encoders.image import identity_canvas
from sugar.synthesis.customize import Customized
from sugar.synthesis.generators import Adapter, Generator, as_pil, as_uint8, load_generator, noise_sources

INSTRUCTION = "Show this same {noun}, with all of its details, in a new picture: {text}."
"""What an editing model is told. Assumption: decision 0015."""

Rank = Callable[[np.ndarray, np.ndarray, str], np.ndarray]
"""From candidates uint8 [N, H, W, 3], the identity uint8 [h, w, 4] and the prompt to N scores."""


def _kontext(noun: str, text: str, guidance_scale: float) -> Mapping[str, Any]:
    return {"prompt": INSTRUCTION.format(noun=noun, text=text), "guidance_scale": guidance_scale}


def _qwen(noun: str, text: str, guidance_scale: float) -> Mapping[str, Any]:
    prompt = INSTRUCTION.format(noun=noun, text=text)
    return {"prompt": prompt, "true_cfg_scale": guidance_scale, "negative_prompt": " "}


def _adapted(noun: str, text: str, guidance_scale: float) -> Mapping[str, Any]:
    return {"prompt": text, "guidance_scale": guidance_scale}


WORDS: Mapping[str, Callable[[str, str, float], Mapping[str, Any]]] = {
    "FluxKontextPipeline": _kontext,
    "QwenImageEditPipeline": _qwen,
    "QwenImageEditPlusPipeline": _qwen,
    "StableDiffusionXLPipeline": _adapted,
}
"""Class of pipelines to its words and guidance, from noun, prompt and guidance scale."""
ONE_A_CALL = ("QwenImageEditPlusPipeline",)
"""Classes that refuse more than one picture a call (diffusers 0.42)."""


class DiffusersCustomizer:
    """One customised picture of a subject and a prompt: the best of several candidates.

    Args:
        pipeline: of a class in WORDS, with its adapter where it needs one (see `load_customizer`).
        generator: how it samples; its batch size is how many candidates one call draws.
        side_px: the picture is side_px x side_px.
        num_candidates: pictures drawn for a prompt.
        rank: scores them; needed for more than one.

    Raises:
        InputError: several candidates and nothing to choose by.
    """

    def __init__(
        self,
        pipeline: Any,
        generator: Generator,
        side_px: int,
        num_candidates: int = 1,
        rank: Rank | None = None,
    ) -> None:
        if num_candidates > 1 and rank is None:
            raise InputError("generators.customize: more than one candidate needs CLIP and DINO to choose")
        self.pipeline, self.kind = pipeline, type(pipeline).__name__
        self.generator, self.side_px = generator, side_px
        self.num_candidates, self.rank = num_candidates, rank
        self.batch_size = 1 if self.kind in ONE_A_CALL else generator.batch_size

    def __call__(self, identity_rgba: np.ndarray, noun: str, text: str, seed: int) -> Customized:
        """The best candidate, uint8 [side_px, side_px, 3], and its score.

        Args:
            identity_rgba: cut-out uint8 [h, w, 4]; the pipeline sees it large, on plain grey.
            text: the prompt; seed: candidate i draws its noise from (seed, i).
        """
        candidates = self.candidates(identity_rgba, noun, text, seed)
        if self.rank is None:
            return Customized(candidates[0], num_candidates=len(candidates))
        scores = self.rank(candidates, identity_rgba, text)
        best = int(np.argmax(scores))
        return Customized(candidates[best], num_candidates=len(candidates), score=float(scores[best]))

    def candidates(self, identity_rgba: np.ndarray, noun: str, text: str, seed: int) -> np.ndarray:
        """All candidates, uint8 [num_candidates, side_px, side_px, 3]."""
        subject = as_pil(identity_canvas(identity_rgba, self.side_px))
        seeds = [key_seed(seed, f"candidate-{i}", "customize") for i in range(self.num_candidates)]
        calls = range(0, self.num_candidates, self.batch_size)
        drawn = [self._draw(subject, noun, text, seeds[i : i + self.batch_size]) for i in calls]
        return np.concatenate(drawn)

    def _draw(self, subject: Any, noun: str, text: str, seeds: list[int]) -> np.ndarray:
        settings = dict(WORDS[self.kind](noun, text, self.generator.guidance_scale))
        settings["ip_adapter_image" if self.kind.startswith("Stable") else "image"] = subject
        if self.kind == "FluxKontextPipeline":
            # Or it draws a megapixel whatever it is asked for, from a picture of another size.
            settings |= {"max_area": self.side_px**2, "_auto_resize": False}
        if self.kind.startswith("Qwen"):
            # One prompt a picture: its positions are not repeated for num_images_per_prompt.
            for name in ("prompt", "negative_prompt", "image"):
                settings[name] = [settings[name]] * len(seeds)
        else:
            settings["num_images_per_prompt"] = len(seeds)
        images = self.pipeline(
            height=self.side_px,
            width=self.side_px,
            num_inference_steps=self.generator.num_steps,
            generator=noise_sources(seeds),
            output_type="np",
            **settings,
        ).images
        return as_uint8(np.asarray(images))


def load_customizer(
    generator: Generator,
    side_px: int,
    num_candidates: int = 1,
    rank: Rank | None = None,
    adapter: Adapter | None = None,
) -> DiffusersCustomizer:
    """The customizer with its pipeline; `adapter` is for Stable Diffusion XL, and for nothing else.

    Raises:
        InputError: as `load_generator`, or an adapter that is missing, not wanted, or cannot be loaded.
    """

    def adapt(pipeline: Any) -> None:
        kind = type(pipeline).__name__
        if (kind == "StableDiffusionXLPipeline") != (adapter is not None):
            raise InputError(
                "generators.customize.adapter must be given for StableDiffusionXLPipeline and nothing else, "
                f"got a {kind} and {'an' if adapter else 'no'} adapter"
            )
        if adapter is not None:
            _load_adapter(pipeline, adapter)

    pipeline = load_generator("generators.customize", generator, WORDS, adapt)
    return DiffusersCustomizer(pipeline, generator, side_px, num_candidates, rank)


def _load_adapter(pipeline: Any, adapter: Adapter) -> None:
    from sugar.encoders.loading import check_source

    source = check_source(adapter.model)
    try:
        pipeline.load_ip_adapter(
            source,
            subfolder=adapter.subfolder,
            weight_name=adapter.weights,
            image_encoder_folder=adapter.image_encoder,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"generators.customize.adapter: {source}: cannot be loaded: {reason}") from error
    pipeline.set_ip_adapter_scale(adapter.scale)


class ClipDinoRank:
    """Scores of candidates: CLIP cosine with the prompt plus DINO cosine with the identity image.

    The two are what the filters ask of a customised image later (SUGAR section 3.1); each in [-1, 1], equal
    weight. Assumption: decision 0015.

    Args:
        clip, dino: folders or hub ids.
    """

    def __init__(self, clip: str, dino: str, device: str = "cpu") -> None:
        from sugar.encoders.features import load_clip_tokenizer
        from sugar.encoders.image import load_clip, load_dino
        from sugar.encoders.loading import resolve_device

        self.clip, self.dino = (
            load_clip(clip, resolve_device(device)),
            load_dino(dino, resolve_device(device)),
        )
        self.tokenizer = load_clip_tokenizer(clip)

    def __call__(self, candidates: np.ndarray, identity_rgba: np.ndarray, text: str) -> np.ndarray:
        """float32 [N], larger is better."""
        from sugar.encoders.features import clip_image_features, clip_text_features, dino_features

        words = clip_text_features(self.clip, self.tokenizer, [text])
        follows = clip_image_features(self.clip, candidates) @ words[0]
        identity = identity_canvas(identity_rgba, candidates.shape[1])
        same = dino_features(self.dino, candidates) @ dino_features(self.dino, identity[None])[0]
        return (follows + same).cpu().numpy()
