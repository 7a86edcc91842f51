"""The real network classes at tiny size with random weights, saved where `from_pretrained` finds them.

`make_tiny_networks(folder)` writes the same sub-folders as `foundation/sprites`, so that the same
configuration keys load them. Spatial compression is 8, temporal compression 4, patches are 2 x 2: a clip of
9 frames of 64 x 64 pixels is 3 latent frames of 8 x 8, that is 48 video tokens.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

WORDS = (
    "a an the of in on with and is are cat dog bird fish car robot boat vase teapot candle backpack toy "
    "drawing painting gold neon pencil style beach forest city snow jumping spinning dancing still"
).split()
NAMES = ("base", "dino", "metrics_dino", "clip", "video_text")


def _t5_tokenizer():
    from transformers import T5Tokenizer

    characters = sorted(set(string.ascii_lowercase + string.digits + ".,'-:!?"))
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocabulary += [(f"▁{word}", -2.0) for word in dict.fromkeys(WORDS)]
    vocabulary += [(character, -6.0) for character in characters]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=24)


def _clip_tokenizer():
    from transformers import CLIPTokenizer

    characters = sorted(set(string.ascii_lowercase + string.digits + ".,'-:!?"))
    pieces = characters + [f"{character}</w>" for character in characters]
    pieces += ["<|startoftext|>", "<|endoftext|>"]  # the end token has the highest id, as in CLIP
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=77)


def _text_settings(tokenizer) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _vision_settings() -> dict:
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }


def tiny_vae(**sizes: int) -> Any:
    """An untrained VAE of CogVideoX's class and strides."""
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        **sizes,
    )


def make_base(folder: Path) -> None:
    """A CogVideoXPipeline folder: vae, text_encoder, tokenizer, transformer, scheduler."""
    from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    tokenizer = _t5_tokenizer()
    vae = tiny_vae(sample_height=64, sample_width=64)
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=16,
        num_layers=4,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        max_text_seq_length=24,
    )
    scheduler = CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=3.0,
        timestep_spacing="trailing",
    )
    CogVideoXPipeline(tokenizer, text_encoder, vae, transformer, scheduler).save_pretrained(folder)


def make_dino(folder: Path) -> None:
    """A Dinov2Model: 28 x 28 pixels, 1 + 4 tokens of 16 numbers."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)


def make_clip(folder: Path) -> None:
    """A CLIPModel with its tokenizer: 32 x 32 pixels, 1 + 4 image tokens of 16 numbers."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = _clip_tokenizer()
    config = CLIPConfig(
        text_config=_text_settings(tokenizer), vision_config=_vision_settings(), projection_dim=16
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_video_text(folder: Path) -> None:
    """An XCLIPModel with its tokenizer: 8 frames of 32 x 32 pixels."""
    from transformers import XCLIPConfig, XCLIPModel

    tokenizer = _clip_tokenizer()
    vision = _vision_settings() | {
        "mit_hidden_size": 16,
        "mit_intermediate_size": 32,
        "mit_num_attention_heads": 2,
        "num_frames": 8,
    }
    config = XCLIPConfig(
        text_config=_text_settings(tokenizer),
        vision_config=vision,
        projection_dim=16,
        prompt_layers=1,
        prompt_num_attention_heads=2,
    )
    XCLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tiny_networks(folder: Path) -> Path:
    """Write every network (see NAMES) below `folder` and return it; the weights are the same every time."""
    import torch

    makers = {
        "base": make_base,
        "dino": make_dino,
        "metrics_dino": make_dino,
        "clip": make_clip,
        "video_text": make_video_text,
    }
    for seed, name in enumerate(NAMES):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            makers[name](Path(folder) / name)
    return Path(folder)
