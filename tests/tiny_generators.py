"""Pipelines of diffusers at tiny size with random weights, saved where `from_pretrained` finds them.

Shapes were found by trial: small, of the real classes, and with the strides of the published models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_networks import _clip_tokenizer, _t5_tokenizer, tiny_vae


def _seeded(make: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def _saved(make: Any, folder: Path) -> Path:
    _seeded(make).save_pretrained(folder)
    return folder


def _t5() -> dict[str, Any]:
    from transformers import T5Config, T5EncoderModel

    tokenizer = _t5_tokenizer()
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return {"tokenizer": tokenizer, "text_encoder": T5EncoderModel(config)}


def _clip_text(projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def make_cogvideox(folder: Path) -> Path:
    from diffusers import CogVideoXDDIMScheduler, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel

    def make() -> Any:
        vae = tiny_vae()
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=8,
            out_channels=4,
            time_embed_dim=8,
            text_embed_dim=16,
            num_layers=1,
            sample_width=4,
            sample_height=4,
            sample_frames=9,
            max_text_seq_length=226,
            use_rotary_positional_embeddings=True,
        )
        scheduler = CogVideoXDDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing")
        return CogVideoXImageToVideoPipeline(vae=vae, transformer=transformer, scheduler=scheduler, **_t5())

    return _saved(make, folder)


def make_wan(folder: Path) -> Path:
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanImageToVideoPipeline,
        WanTransformer3DModel,
    )

    def make() -> Any:
        vae = AutoencoderKLWan(
            base_dim=4,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        )
        transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=36,
            out_channels=16,
            text_dim=16,
            freq_dim=16,
            ffn_dim=16,
            num_layers=1,
            rope_max_seq_len=32,
        )
        scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
        return WanImageToVideoPipeline(vae=vae, transformer=transformer, scheduler=scheduler, **_t5())

    return _saved(make, folder)


def make_ltx(folder: Path) -> Path:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXImageToVideoPipeline,
        LTXVideoTransformer3DModel,
    )

    def make() -> Any:
        vae = AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, True, False),
            decoder_spatio_temporal_scaling=(True, True, True, False),
            decoder_inject_noise=(False,) * 5,
            upsample_residual=(False,) * 4,
            upsample_factor=(1,) * 4,
            patch_size=4,
            patch_size_t=1,
        )
        transformer = LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            num_layers=1,
            caption_channels=16,
        )
        scheduler = FlowMatchEulerDiscreteScheduler()
        return LTXImageToVideoPipeline(vae=vae, transformer=transformer, scheduler=scheduler, **_t5())

    return _saved(make, folder)


def make_kontext(folder: Path) -> Path:
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxTransformer2DModel,
    )

    def make() -> Any:
        t5 = _t5()
        vae = AutoencoderKL(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=2,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.1,
            scaling_factor=1.5,
        )
        transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=8,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=1,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        )
        return FluxKontextPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=_clip_text(),
            tokenizer=_clip_tokenizer(),
            text_encoder_2=t5["text_encoder"],
            tokenizer_2=t5["tokenizer"],
            transformer=transformer,
        )

    return _saved(make, folder)


class PictureReader:
    """What `Qwen2VLProcessor` does with text and pictures; the class itself needs torchvision.

    A picture becomes patches, and its mark in the text as many marks as the language model sees of it.
    """

    def __init__(self, images: Any, tokenizer: Any) -> None:
        self.images, self.tokenizer = images, tokenizer

    def __call__(self, text: list[str], images: Any, **settings: Any) -> Any:
        from transformers import BatchFeature

        pictures = self.images(images=images, return_tensors="pt")
        marks = iter((pictures["image_grid_thw"].prod(-1) // self.images.merge_size**2).tolist())
        filled = []
        for line in text:
            parts = line.split("<|image_pad|>")
            whole = parts[0]
            for part in parts[1:]:
                whole += "<|image_pad|>" * next(marks) + part
            filled.append(whole)
        words = self.tokenizer(filled, padding=True, return_tensors="pt")
        return BatchFeature({**words, **pictures})


def byte_tokenizer() -> Any:
    """Qwen's tokenizer without merges: a token a byte, and its marks."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    vocabulary = {piece: i for i, piece in enumerate([*sorted(ByteLevel.alphabet()), *special])}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=special[1:])


def _qwen_reader() -> dict[str, Any]:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = byte_tokenizer()
    vocabulary = tokenizer.get_vocab()
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [0],
        },
        image_token_id=vocabulary["<|image_pad|>"],
        video_token_id=vocabulary["<|video_pad|>"],
        vision_start_token_id=vocabulary["<|vision_start|>"],
        vision_end_token_id=vocabulary["<|vision_end|>"],
    )
    return {
        "text_encoder": Qwen2_5_VLForConditionalGeneration(config),
        "tokenizer": tokenizer,
        "processor": PictureReader(images, tokenizer),
    }


def qwen_edit(plus: bool = False) -> Any:
    """The pipeline itself: its processor cannot be saved and loaded without torchvision."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPipeline,
        QwenImageEditPlusPipeline,
        QwenImageTransformer2DModel,
    )

    def make() -> Any:
        vae = AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        )
        transformer = QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=1,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        )
        scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        kind = QwenImageEditPlusPipeline if plus else QwenImageEditPipeline
        return kind(scheduler=scheduler, vae=vae, transformer=transformer, **_qwen_reader())

    pipeline = _seeded(make)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _sdxl_parts(unet_channels: int) -> dict[str, Any]:
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel

    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        in_channels=unet_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=6 * 8 + 16,
        cross_attention_dim=32,
        norm_num_groups=4,
    )
    return {
        "vae": vae,
        "unet": unet,
        "text_encoder": _clip_text(),
        "tokenizer": _clip_tokenizer(),
        "text_encoder_2": _clip_text(projected=True),
        "tokenizer_2": _clip_tokenizer(),
        "scheduler": EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
    }


def make_inpainting(folder: Path) -> Path:
    from diffusers import StableDiffusionXLInpaintPipeline

    return _saved(lambda: StableDiffusionXLInpaintPipeline(**_sdxl_parts(9)), folder)


def make_adapted(folder: Path) -> tuple[Path, Path]:
    """Stable Diffusion XL and an IP-Adapter for it: folders of both."""
    from diffusers import StableDiffusionXLPipeline
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    pipeline = _seeded(lambda: StableDiffusionXLPipeline(**_sdxl_parts(4)))
    pipeline.save_pretrained(folder / "sdxl")
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=224,
        patch_size=56,
        projection_dim=16,
    )
    encoder = _seeded(lambda: CLIPVisionModelWithProjection(config))
    encoder.save_pretrained(folder / "adapter" / "models" / "image_encoder")
    cross, tokens = 32, 4
    generator = torch.Generator().manual_seed(0)
    weights = {
        "image_proj.proj.weight": torch.randn(tokens * cross, 16, generator=generator),
        "image_proj.proj.bias": torch.zeros(tokens * cross),
        "image_proj.norm.weight": torch.ones(cross),
        "image_proj.norm.bias": torch.zeros(cross),
    }
    number = 1
    for name in pipeline.unet.attn_processors:
        if name.endswith("attn2.processor"):
            layer = pipeline.unet.get_submodule(name.removesuffix(".processor"))
            for key in ("to_k_ip", "to_v_ip"):
                shape = (layer.inner_dim, cross)
                weights[f"ip_adapter.{number}.{key}.weight"] = torch.randn(shape, generator=generator)
            number += 2
    (folder / "adapter" / "sdxl_models").mkdir(parents=True)
    save_file(weights, folder / "adapter" / "sdxl_models" / "ip.safetensors")
    return folder / "sdxl", folder / "adapter"
