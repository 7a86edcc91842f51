"""Pipelines of diffusers as generators: which are known, and how they are loaded.

A generator is named by a folder or hub id and loaded with `from_pretrained`; its class is read from
`model_index.json` and must be one that the caller knows. Weights come from safetensors only, code from a
model repository is never executed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sugar.config import InputError
from sugar.encoders.weights import Weights

if TYPE_CHECKING:
    import torch
    from PIL import Image

OFFLOADS = ("none", "model", "sequential")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Machine:
    """Where and how generators run.

    Attributes:
        device: torch device, or "auto".
        dtype: of DTYPES.
        offload: "none"; "model": one network at a time on the device; "sequential": one layer at a time. Both
            keep the rest in main memory and decode in tiles.

    Raises:
        InputError: an unknown dtype or offload.
    """

    device: str = "cpu"
    dtype: str = "float32"
    offload: str = "none"

    def __post_init__(self) -> None:
        for key, known in (("dtype", DTYPES), ("offload", OFFLOADS)):
            if getattr(self, key) not in known:
                raise InputError(f"generators.{key} must be one of {known}, got {getattr(self, key)!r}")


@dataclass(frozen=True)
class Generator:
    """One pipeline and how it samples.

    Attributes:
        model: folder or hub id; digest: of its files, so that other weights make other shards.
        num_steps, guidance_scale: of its sampler; 0 or 1 as guidance scale: none.
        batch_size: samples in one call, where the pipeline takes several.
        machine: see Machine.
    """

    model: str
    num_steps: int
    guidance_scale: float
    batch_size: int = 1
    digest: str = ""
    machine: Machine = field(default_factory=Machine)

    @property
    def weights(self) -> Weights:
        """What the provenance names."""
        return Weights(self.model, self.digest)


@dataclass(frozen=True)
class Adapter:
    """An IP-Adapter, as `load_ip_adapter` takes it.

    model: folder or hub id; subfolder, weights: file in it; image_encoder: its folder of the image encoder,
    None where the pipeline brings its own; scale: how strongly it pulls.
    """

    model: str
    subfolder: str
    weights: str
    image_encoder: str | None = None
    scale: float = 0.7


def load_generator(
    name: str,
    generator: Generator,
    known: Collection[str],
    complete: Callable[[Any], object] = lambda pipeline: None,
) -> Any:
    """The pipeline, ready to be called.

    Args:
        name: of the configuration key, for errors.
        known: names of the classes that the caller can call.
        complete: adds what the pipeline lacks (an adapter) before it is placed: an offload sees only the
            networks that are there.

    Raises:
        InputError: no such folder, not a pipeline of a known class, weights that are missing or not
            safetensors, an offload without a GPU, or as `complete`.
    """
    from diffusers import DiffusionPipeline

    from sugar.encoders.hub import cached_commit
    from sugar.encoders.loading import check_source

    source, device = check_source(generator.model), device_of(generator.machine)
    if (kind := _class_name(name, source)) not in known:
        raise InputError(f"{name}: {source} must be one of {', '.join(sorted(known))}, got {kind}")
    if kind.startswith("Qwen") and importlib.util.find_spec("torchvision") is None:
        raise InputError(f"{name}: {kind} needs torchvision for its processor: pip install 'sugar[raft]'")
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            source,
            revision=cached_commit(source),
            torch_dtype=_dtype(generator.machine.dtype),
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{name}: {source}: cannot load {kind}: {reason}") from error
    pipeline.set_progress_bar_config(disable=True)
    complete(pipeline)
    place(pipeline, generator.machine, device)
    return pipeline


def device_of(machine: Machine) -> torch.device:
    """The device that generators run on.

    Raises:
        InputError: there is no such device, or an offload without a GPU.
    """
    from sugar.encoders.loading import resolve_device

    device = resolve_device(machine.device)
    if machine.offload != "none" and device.type == "cpu":
        raise InputError(f"generators.offload {machine.offload!r} needs a GPU, but the device is the CPU")
    return device


def place(pipeline: Any, machine: Machine, device: torch.device) -> None:
    """Move a pipeline to its device, or set up its offload."""
    if machine.offload == "none":
        pipeline.to(device)
        return
    offload = {
        "model": pipeline.enable_model_cpu_offload,
        "sequential": pipeline.enable_sequential_cpu_offload,
    }
    offload[machine.offload](device=device)
    pipeline.vae.enable_tiling()


def place_network(network: Any, machine: Machine, device: torch.device) -> None:
    """Move a network that is no pipeline's to its device, or set up its offload; see `on_device`."""
    if machine.offload == "none":
        network.to(device)
    elif machine.offload == "sequential":
        from accelerate import cpu_offload

        cpu_offload(network, device)


@contextmanager
def on_device(network: Any, machine: Machine, device: torch.device) -> Iterator[None]:
    """Within it a network that `place_network` placed can be called; with offload "model" it leaves the
    device again, so that the pipelines have it to themselves."""
    if machine.offload != "model":
        yield
        return
    network.to(device)
    try:
        yield
    finally:
        network.to("cpu")


def noise_sources(seeds: Sequence[int]) -> list[torch.Generator]:
    """A generator of random numbers a sample, on the CPU: the same noise on every device, in every batch."""
    import torch

    return [torch.Generator("cpu").manual_seed(seed % 2**63) for seed in seeds]


def as_pil(image_rgb: np.ndarray) -> Image.Image:
    """A uint8 [H, W, 3] picture as pipelines take it."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image_rgb))


def as_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pictures as pipelines give them (output_type="np", 0..1) as uint8.

    Raises:
        ValueError: a pixel is not a number (float16 networks may overflow).
    """
    if not np.isfinite(pixels).all():
        raise ValueError("the generator's pixels must be finite, got NaN or infinity (try dtype bfloat16)")
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)


def _dtype(name: str) -> torch.dtype:
    import torch

    return getattr(torch, name)


def _class_name(name: str, source: str) -> str:
    """`_class_name` of model_index.json, without loading anything else."""
    file = Path(source) / "model_index.json"
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            file = Path(hf_hub_download(source, "model_index.json"))
        except (OSError, ValueError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"{name}: {source}: cannot fetch model_index.json: {reason}") from error
    try:
        index: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name}: {source} must be a diffusers pipeline (model_index.json)") from error
