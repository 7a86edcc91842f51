"""The pipeline itself: its networks, and the call from pictures and sentences to frames.

Legend: B clips, T frames, F latent frames, C channels, H W height and width, L tokens, E encoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from sugar.config import InputError
from sugar.diffusion.guidance import Guidance, Order
from sugar.diffusion.image_drop import Drop
from sugar.encoders.conditioner import NAME, ImageConditioner, encoder_folders
from sugar.encoders.text import encode_text, load_text_encoder
from sugar.encoders.vae import decode_latents, load_vae, num_latent_frames, spatial_ratio
from sugar.model.decoder import modulate_at_latent_size
from sugar.model.denoiser import BatchBranches, Tokens
from sugar.model.transformer import SugarTransformer3DModel
from sugar.pipeline.inputs import cut_outs, make_generators
from sugar.pipeline.lora import SugarLoraLoaderMixin
from sugar.pipeline.output import OUTPUT_TYPES, OutputType, SugarPipelineOutput, as_output
from sugar.pipeline.sampling import Sampling, sample_latents

if TYPE_CHECKING:
    from sugar.box import Corners
    from sugar.encoders.segmentation import Segmenter


class SugarPipeline(DiffusionPipeline, SugarLoraLoaderMixin):
    """Subject-driven video from one picture and one sentence.

    Args:
        tokenizer, text_encoder: T5, as in CogVideoX.
        vae: `AutoencoderKLCogVideoX`; its decoder is made faster in place, for the same frames
            (`sugar.model.decoder`).
        transformer: `SugarTransformer3DModel`.
        scheduler: `CogVideoXDDIMScheduler` or `CogVideoXDPMScheduler`.
        image_conditioner: `ImageConditioner`, DINO and CLIP.

    Source: SUGAR section 3, Figure 2.
    """

    model_cpu_offload_seq = "text_encoder->image_conditioner->transformer->vae"
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        vae: Any,
        transformer: SugarTransformer3DModel,
        scheduler: Any,
        image_conditioner: ImageConditioner,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            vae=modulate_at_latent_size(vae),
            transformer=transformer,
            scheduler=scheduler,
            image_conditioner=image_conditioner,
        )

    @classmethod
    def assemble(
        cls,
        base: str | Path,
        transformer: str | Path | SugarTransformer3DModel,
        dino: str | Path,
        clip: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SugarPipeline:
        """A pipeline from the networks that `params.yaml` names.

        Args:
            base: folder or hub id of a CogVideoX pipeline (vae, text encoder, tokenizer, scheduler).
            transformer: a trained `SugarTransformer3DModel`, or its folder.
            dino, clip: folders or hub ids.
        """
        from diffusers import CogVideoXDDIMScheduler

        if not isinstance(transformer, SugarTransformer3DModel):
            transformer = SugarTransformer3DModel.from_pretrained(transformer, torch_dtype=dtype)
        tokenizer, text_encoder = load_text_encoder(base, device, dtype)
        torch.nn.Module.to(transformer, device)
        return cls(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            vae=load_vae(base, device, dtype),
            transformer=transformer,
            scheduler=CogVideoXDDIMScheduler.from_pretrained(base, subfolder="scheduler"),
            image_conditioner=ImageConditioner.load(dino, clip, device, dtype),
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> SugarPipeline:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As in diffusers; an older folder, with DINO and CLIP as components of their own, loads too."""
        folder = Path(pretrained_model_name_or_path)
        if NAME not in kwargs and (folder / "dino").is_dir() and not (folder / NAME).is_dir():
            dtype = kwargs.get("dtype") or kwargs.get("torch_dtype") or torch.float32
            kwargs[NAME] = ImageConditioner.load(*encoder_folders(folder), dtype=dtype)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    # Encoding

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text tokens `[B, L, E]`.

        Raises:
            InputError: an empty prompt, or one of more tokens than the model reads.
        """
        limit = self.transformer.config.max_text_seq_length
        read = self.tokenizer(list(prompts), verbose=False)["input_ids"]  # what is too long is told below
        for prompt, ids in zip(prompts, read, strict=True):
            if len(ids) > limit:
                raise InputError(f"prompt must be at most {limit} tokens, got {len(ids)}: {prompt[:60]!r}...")
        return encode_text(self.tokenizer, self.text_encoder, prompts, limit)

    # Generation

    @torch.no_grad()
    def generate_from_tokens(
        self,
        tokens: Tokens,
        *,
        num_frames: int,
        height: int,
        width: int,
        sampling: Sampling,
        generators: Sequence[torch.Generator],
        output_type: OutputType = "uint8",
        on_step_end: Callable[[int, Tensor, Tensor], Tensor | None] | None = None,
    ) -> Any:
        """Frames of B clips from encoded conditions.

        Args:
            tokens: of B clips.
            num_frames, height, width: of the video, in frames and pixels.
            generators: one a clip (on the CPU): clip i of a batch is clip i alone.
            output_type: see `__call__`.

        Raises:
            InputError: a size that the VAE and the patches do not divide.
        """
        latent_frames = self._latent_frames(num_frames)
        self._check_size(height, width)
        config, ratio = self.transformer.config, spatial_ratio(self.vae)
        padding = -latent_frames % (config.patch_size_t or 1)
        shape = (latent_frames + padding, config.in_channels, height // ratio, width // ratio)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        self._onto_device(self.transformer)
        latents = sample_latents(
            self.transformer,
            self.scheduler,
            tokens,
            noise.to(self.transformer.device),
            sampling,
            generators=list(generators),
            on_step_end=on_step_end,
        )[:, padding:]
        if output_type == "latent":
            return latents
        self._onto_device(self.vae)
        return as_output(decode_latents(self.vae, latents), output_type)

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image] | None = None,
        prompt: str | Sequence[str] = "",
        noun: str | Sequence[str] = "",
        *,
        identity: Image.Image | Sequence[Image.Image] | None = None,
        segmenter: Segmenter | None = None,
        box: Corners | Sequence[Corners | None] | None = None,
        negative_prompt: str = "",
        num_inference_steps: int = 50,
        image_scale: float = 4.0,
        text_scale: float = 7.5,
        order: Order = "image_first",
        drop: Drop = "dino",
        drop_until: float = 0.1,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        dynamic_guidance: bool = False,
        guidance_rescale: float = 0.0,
        batch_branches: BatchBranches = "auto",
        scheduler: str | None = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: OutputType = "np",
        callback_on_step_end: Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
        | None = None,
        return_dict: bool = True,
    ) -> SugarPipelineOutput | tuple[Any]:
        """A video of the subject of each picture, doing what each prompt says.

        Args:
            image: picture(s) of the subject, any size; one picture serves all prompts.
            prompt: one sentence a clip.
            noun: what the subject is ("dog"); the segmenter looks for it.
            identity: cut-out(s) with an alpha channel, in place of `image` and segmentation.
            segmenter: finds the subject; None: GrabCut.
            box: where the subject is in each picture: left, top, right, bottom in pixels; None: to be found.
            negative_prompt: what the unconditional branch reads; "": nothing (null tokens).
            image_scale, text_scale, order, drop, drop_until: SUGAR section 3.2, see `sugar.diffusion`.
            guidance_interval, dynamic_guidance, guidance_rescale: see `sugar.diffusion.guidance.Guidance`.
            num_frames, height, width: default: what the transformer was made for.
            seed: of the first clip, clip i takes `seed + i`; or one a clip.
            generator: one a clip, in place of `seed`.
            output_type: "np" float32 `[B, T, H, W, 3]` in 0..1, "uint8" the same in 0..255, "pil" a list of
                pictures a clip, "pt" float32 `[B, T, 3, H, W]`, "latent" `[B, F, C, H, W]`.
            callback_on_step_end: called with (pipeline, step, timestep, {"latents": ...}) as in diffusers.

        Raises:
            InputError: an empty or overlong prompt, no subject in a picture, a size the model cannot make,
                lists of different lengths.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or not all(text.strip() for text in prompts):
            raise InputError("prompt must say what the video shows, got an empty prompt")
        if output_type not in OUTPUT_TYPES:
            raise InputError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        num_frames, height, width = self._video_size(num_frames, height, width)
        self._check_size(height, width)
        self._latent_frames(num_frames)
        guidance = Guidance(
            image_scale=image_scale,
            text_scale=text_scale,
            order=order,
            negative=bool(negative_prompt.strip()),
            interval=guidance_interval,
            dynamic=dynamic_guidance,
            rescale=guidance_rescale,
        )
        sampling = Sampling(num_inference_steps, guidance, drop, drop_until, scheduler, batch_branches)
        generators = make_generators(seed, generator, len(prompts))
        text = self.encode_prompts(prompts)
        negative = self.encode_prompts([negative_prompt]).expand_as(text) if guidance.negative else None
        identities = cut_outs(image, identity, noun, segmenter, len(prompts), box)
        dino, clip = self.image_conditioner(identities)
        expand = (len(prompts), -1, -1)
        tokens = Tokens(text, dino.expand(expand), clip.expand(expand), negative)
        progress_bar: Any = self.progress_bar
        with progress_bar(total=num_inference_steps) as progress:

            def on_step_end(step: int, timestep: Tensor, latents: Tensor) -> Tensor | None:
                progress.update()
                if callback_on_step_end is None:
                    return None
                return callback_on_step_end(self, step, timestep, {"latents": latents}).get("latents")

            frames = self.generate_from_tokens(
                tokens,
                num_frames=num_frames,
                height=height,
                width=width,
                sampling=sampling,
                generators=generators,
                output_type=output_type,
                on_step_end=on_step_end,
            )
        self.maybe_free_model_hooks()
        return SugarPipelineOutput(frames=frames) if return_dict else (frames,)

    # Input

    def _video_size(
        self, num_frames: int | None, height: int | None, width: int | None
    ) -> tuple[int, int, int]:
        """Frames, height, width in pixels: what is given, or what the transformer was made for."""
        config, ratio = self.transformer.config, spatial_ratio(self.vae)
        return (
            config.sample_frames if num_frames is None else num_frames,
            config.sample_height * ratio if height is None else height,
            config.sample_width * ratio if width is None else width,
        )

    def _latent_frames(self, num_frames: int) -> int:
        try:
            return num_latent_frames(self.vae, num_frames)
        except ValueError as error:
            raise InputError(str(error)) from error

    def _check_size(self, height: int, width: int) -> None:
        step = spatial_ratio(self.vae) * self.transformer.config.patch_size
        if height < step or width < step or height % step or width % step:
            raise InputError(f"height and width must be multiples of {step} pixels, got {height} x {width}")

    def _onto_device(self, module: Any) -> None:
        """Under CPU offload, bring a module over before a method other than `forward` is called."""
        hook = getattr(module, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(module)
