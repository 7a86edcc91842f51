"""The latent cache of a dataset: what frozen networks make of each accepted triplet, computed once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from sugar.config import InputError
from sugar.data.atomic import sha256_bytes
from sugar.data.latent_index import held_out
from sugar.data.latents import LatentWriter
from sugar.data.manifest import accepted_rows, balanced_rows, read_manifest
from sugar.encoders.hub import cached_commit
from sugar.stages.fingerprints import network_digest
from sugar.stages.rejected import Rejected
from sugar.triplet import Triplet

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_USED = ("key", "shard", "noun", "accepted", "reasons", "digest")
"""Columns of the manifest that are read."""
TRANSFORM = 1
"""Raised when code between a triplet and its tensors changes what it computes (canvas, crop, resizing, mean
and std, stills): latents of before are encoded again. Sizes and weights are in the networks' digests."""
Encode = Callable[[Sequence[Triplet]], dict[str, "Tensor"]]


@dataclass(frozen=True)
class Networks:
    """What encodes: folders or hub ids.

    base: a CogVideoX pipeline (vae, text_encoder, tokenizer; of the transformer the configuration alone).
    dino, clip: the image encoders.
    device: "auto" or a torch device; dtype: "float32", "bfloat16" or "float16", of networks and cache.
    """

    base: str
    dino: str
    clip: str
    device: str = "auto"
    dtype: str = "float32"

    def meta(self, num_stills: int = 0) -> dict[str, Any]:
        """All that changes the tensors besides the triplet, for `LatentWriter`."""
        parts = {
            "vae": network_digest(self.base, "vae"),
            "text_encoder": network_digest(self.base, "text_encoder"),
            "tokenizer": network_digest(self.base, "tokenizer"),
            "dino": network_digest(self.dino),
            "clip": network_digest(self.clip),
        }
        return {
            "networks": parts,
            "dtype": self.dtype,
            "max_text_seq_length": self.text_length,
            "vae_scaling_factor": self.scaling_factor,
            **({"stills": num_stills} if num_stills else {}),
            **({"transform": TRANSFORM} if TRANSFORM > 1 else {}),
        }

    @property
    def text_length(self) -> int:
        """Text tokens that the base transformer reads."""
        return int(self._config("CogVideoXTransformer3DModel", "transformer")["max_text_seq_length"])

    @property
    def scaling_factor(self) -> float:
        """From latents to the transformer's space."""
        return float(self._config("AutoencoderKLCogVideoX", "vae")["scaling_factor"])

    def _config(self, network: str, subfolder: str) -> Any:
        """A configuration of the base; of a folder without diffusers, whose import takes seconds."""
        file = Path(self.base) / subfolder / "config.json"
        if file.is_file():
            return json.loads(file.read_text(encoding="utf-8"))
        import diffusers

        try:
            return getattr(diffusers, network).load_config(
                self.base, subfolder=subfolder, revision=cached_commit(self.base)
            )
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"networks.base: {self.base}/{subfolder} has no configuration: {reason}"
            ) from error


def load_encoders(networks: Networks, num_stills: int = 0) -> Encode:
    """A function from triplets to the tensors of each.

    The tensors are mean and std `[B, F, C, h, w]` of the VAE's posterior, unscaled, and text, dino and clip
    tokens `[B, L, D]`; with `num_stills` also still_mean and still_std `[B, K, C, h, w]` of K frames of the
    clip, each encoded alone as an image.

    Raises:
        InputError: a network is missing.
    """
    import torch

    from sugar.encoders.conditioner import ImageConditioner
    from sugar.encoders.loading import resolve_device
    from sugar.encoders.text import encode_text, load_text_encoder
    from sugar.encoders.vae import encode_posterior, load_vae, num_latent_frames

    device, dtype = resolve_device(networks.device), getattr(torch, networks.dtype)
    vae = load_vae(networks.base, device, dtype)
    tokenizer, text_encoder = load_text_encoder(networks.base, device, dtype)
    image_conditioner = ImageConditioner.load(networks.dino, networks.clip, device, dtype)
    length = networks.text_length

    def encode(triplets: Sequence[Triplet]) -> dict[str, Tensor]:
        videos = np.stack([triplet.video for triplet in triplets])
        try:
            num_latent_frames(vae, videos.shape[1])
            mean, std = encode_posterior(vae, videos)
        except ValueError as error:
            raise InputError(str(error)) from error
        dino, clip = image_conditioner([triplet.identity for triplet in triplets])
        tensors = {
            "mean": mean,
            "std": std,
            "text": encode_text(tokenizer, text_encoder, [triplet.prompt for triplet in triplets], length),
            "dino": dino,
            "clip": clip,
        }
        if num_stills:
            frames = np.stack([triplet.video[still_frames(triplet, num_stills)] for triplet in triplets])
            still_mean, still_std = encode_posterior(vae, frames.reshape(-1, 1, *frames.shape[2:]))
            tensors["still_mean"] = still_mean[:, 0].unflatten(0, frames.shape[:2])
            tensors["still_std"] = still_std[:, 0].unflatten(0, frames.shape[:2])
        return {name: tensor.to("cpu", dtype) for name, tensor in tensors.items()}

    return encode


def still_frames(triplet: Triplet, count: int) -> np.ndarray:
    """Indices of `count` random frames of a clip, different ones where it has as many.

    By its identity image and prompt alone, not by its key: latents are found by what the encoders see.
    """
    seen = triplet.identity.tobytes() + triplet.prompt.encode()
    rng = np.random.default_rng(int(sha256_bytes(seen)[:16], 16))
    return rng.choice(len(triplet.video), size=count, replace=count > len(triplet.video))


def encode_dataset(
    dataset: Path,
    output: Path,
    networks: Networks,
    *,
    made_by: str,
    batch_size: int,
    shard_size: int,
    held_out_fraction: float,
    max_noun_share: float | None = None,
    num_workers: int = 0,
    num_stills: int = 0,
    on_work: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Bring the cache in `output` to the accepted triplets of `dataset`; only new ones are encoded.

    Every batch has `batch_size` samples (the last repeats its first), so that a sample's numbers do not
    depend on how many others are new. A triplet that cannot be read is left out and counted in
    `rejections.json`.

    Args:
        made_by: the stage that made the dataset, for what is said of damaged triplets.
        max_noun_share: rows of a noun beyond this share are left out, by hash of the key; None: none are.
        num_workers: threads that decode the next batch while the networks work on this one; 0: none.
        num_stills: random frames of a clip that are encoded as images too (SUGAR section 4.3, TSF-Image).
        on_work: called before anything is encoded or written; not where the cache is at these triplets.

    Returns:
        samples in the cache, how many of them were encoded now, how many are held out, how many are skipped.

    Raises:
        InputError: no accepted triplet that can be read, a size that the networks do not take, no shard.
    """
    accepted = _accepted(dataset, max_noun_share)
    rejected = Rejected(dataset, output, made_by)
    table, encoded = rejected.before(accepted), 0
    writer = LatentWriter(output, networks.meta(num_stills), shard_size, held_out_fraction)
    if (index := writer.whole(table["key"], table["digest"])) is not None:
        num_held_out = int(np.count_nonzero(index["held_out"]))
    else:
        on_work()
        encode: Encode | None = None
        while positions := writer.plan(table["key"].to_pylist(), table["digest"].to_pylist()):
            rows = table.take(pa.array(positions, pa.int64()))
            encode = encode or load_encoders(networks, num_stills)
            encoded += _encode_rows(writer, positions, rows, rejected, encode, batch_size, num_workers)
            table = rejected.without(table)
        writer.finish()
        num_held_out = sum(held_out(table["key"].to_pylist(), held_out_fraction))
    rejected.write(accepted.num_rows)
    counts = {"samples": table.num_rows, "encoded": encoded, "held_out": num_held_out}
    return counts | rejected.counts()


def _accepted(dataset: Path, max_noun_share: float | None) -> pa.Table:
    """Accepted rows of the manifest, no more of a noun than its share."""
    table = accepted_rows(read_manifest(dataset, _USED))
    if not table.num_rows:
        raise InputError(f"{dataset}: has no accepted triplet, so there is nothing to encode")
    if max_noun_share is None:
        return table
    try:
        return balanced_rows(table, "noun", max_noun_share)
    except ValueError as error:
        raise InputError(f"encode.max_noun_share: {dataset}: {error}") from error


def _encode_rows(
    writer: LatentWriter,
    positions: Sequence[int],
    rows: pa.Table,
    rejected: Rejected,
    encode: Encode,
    size: int,
    num_workers: int,
) -> int:
    """Give the writer the tensors of some rows, in batches of `size`; positions: of the rows in its plan.

    Returns how many there were; the others are rejected, and the writer is told at once: it holds every shard
    that still awaits one.
    """
    wanted = dict(zip(rows["key"].to_pylist(), positions, strict=True))
    triplets = rejected.read(rows, num_workers=num_workers, ahead=size)
    label = f"encode {rejected.dataset.name}"
    num_encoded = 0
    with tqdm(total=len(positions), desc=label, unit="triplet", mininterval=1.0) as bar:
        for batch in _batches(triplets, size):
            padded = [*batch, *[batch[0]] * (size - len(batch))]
            tensors = {name: tensor[: len(batch)] for name, tensor in encode(padded).items()}
            writer.add([wanted.pop(triplet.key) for triplet in batch], tensors)
            for key in rejected.reasons.keys() & wanted.keys():
                writer.drop(wanted.pop(key))
            num_encoded += len(batch)
            bar.update(len(batch))
    for key, position in wanted.items():
        assert key in rejected.reasons, key
        writer.drop(position)
    return num_encoded


def _batches(triplets: Iterator[Triplet], size: int) -> Iterator[list[Triplet]]:
    batch: list[Triplet] = []
    for triplet in triplets:
        batch.append(triplet)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
