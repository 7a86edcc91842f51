"""From a step's number to the tensors of its batch: samples, noise, timesteps, dropout.

Everything is a function of (seed, step, slot): the slots of the global batch are dealt out to ranks and
micro-batches, so any number of processes and any accumulation see the same samples with the same noise, and a
run that continues needs no state of a loader (SUGAR section 3.2; decision 0011).
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from sugar.config import InputError
from sugar.data.latents import LatentCache
from sugar.data.sampling import batch_indices, slot_noise, slot_uniform
from sugar.model.patches import pad_frames

SOURCES = ("real", "synthetic")
STREAMS = ("dino", "clip", "text")
STILLS = ("still_mean", "still_std")
"""VAE posteriors `[K, C, h, w]` of random frames of a synthetic clip, each encoded alone."""
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """One micro-batch on the CPU or a device.

    Args:
        latents, noise: `[B, F, C, h, w]` in the model's space.
        timesteps: `[B]` integers.
        tokens: "text", "dino", "clip" -> `[B, L, E]`.
        keep: the same names -> bool `[B]`, False where the condition is dropped.
        synthetic: bool `[B]`.
        keys: the samples' keys.
        stills: `[B, 1, C, h, w]`, image targets of synthetic samples, zeros for real ones; None: unasked.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    tokens: Mapping[str, Tensor]
    keep: Mapping[str, Tensor]
    synthetic: Tensor
    keys: tuple[str, ...]
    stills: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; itself where it is there already."""
        if device.type == "cpu":
            return self
        move = {name: t.to(device, non_blocking=True) for name, t in self.tokens.items()}
        keep = {name: t.to(device, non_blocking=True) for name, t in self.keep.items()}
        latents, noise, timesteps, synthetic = (
            t.to(device, non_blocking=True)
            for t in (self.latents, self.noise, self.timesteps, self.synthetic)
        )
        stills = None if self.stills is None else self.stills.to(device, non_blocking=True)
        return Batch(latents, noise, timesteps, move, keep, synthetic, self.keys, stills)

    def pick(self, mask_B: Tensor) -> Batch:
        """The samples where the mask is True, in order."""
        return Batch(
            latents=self.latents[mask_B],
            noise=self.noise[mask_B],
            timesteps=self.timesteps[mask_B],
            tokens={name: t[mask_B] for name, t in self.tokens.items()},
            keep={name: t[mask_B] for name, t in self.keep.items()},
            synthetic=self.synthetic[mask_B],
            keys=tuple(key for key, taken in zip(self.keys, mask_B.tolist(), strict=True) if taken),
            stills=None if self.stills is None else self.stills[mask_B],
        )

    def as_images(self, patch_size_t: int | None = None) -> Batch:
        """The same samples with their stills as targets, in place of the videos.

        Args:
            patch_size_t: latent frames of a patch (CogVideoX 1.5), which the image fills; None: one.
        """
        assert self.stills is not None, "made with stills"
        frames = patch_size_t or 1
        image = self.stills.expand(-1, frames, -1, -1, -1)
        return replace(self, latents=image, noise=self.noise[:, :frames])


def cache_digest(cache: LatentCache) -> str:
    """SHA-256 over what a cache holds: its description, the samples in order, which are held out."""
    about = [cache.meta, cache.keys, cache.digests, list(map(int, cache.held_out_indices))]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class Batches:
    """The batches of a run.

    What is drawn is exact, not expected: after any number n of samples a source of share p gave n p of them,
    give or take 1/2, and no sample of a source comes again before each of its samples came once. Epochs have
    no seam: a batch that ends one pass begins the next, nothing is dropped or repeated at the boundary, and
    neither the number of processes, nor accumulation, nor a continuation changes the sequence.

    Args:
        caches: source -> latent cache.
        probabilities: source -> share of the samples, over the same sources.
        seed: of the run.
        global_batch: slots a step; num_train_timesteps: of the noise schedule.
        drop: "dino", "clip", "text" -> probability of dropping the condition.
        patch_size_t: latent frames of a patch (CogVideoX 1.5), which the latents are padded to; None: one.
        stills: give synthetic samples a random one of their stills, drawn anew each time.
        timestep_exponent: timesteps of training are T u^e, u uniform; 1 is uniform, below 1 noisier. Those of
            held-out samples are always uniform.

    Raises:
        InputError: a cache without training samples or stills, or caches of different encoders.
    """

    def __init__(
        self,
        caches: Mapping[str, LatentCache],
        probabilities: Mapping[str, float],
        *,
        seed: int,
        global_batch: int,
        num_train_timesteps: int,
        drop: Mapping[str, float],
        patch_size_t: int | None = None,
        stills: bool = False,
        timestep_exponent: float = 1.0,
    ) -> None:
        self._patch_size_t, self._stills = patch_size_t, stills
        self._timestep_exponent = timestep_exponent
        self._caches, self._probabilities = dict(caches), dict(probabilities)
        self._seed, self._global_batch = seed, global_batch
        self._num_train_timesteps, self._drop = num_train_timesteps, dict(drop)
        self._train = {source: cache.train_indices for source, cache in caches.items()}
        self._held_out = {source: cache.held_out_indices for source, cache in caches.items()}
        for source, indices in self._train.items():
            if not len(indices):
                raise InputError(f"latent cache {source!r}: no training samples")
            if stills and source == "synthetic" and STILLS[0] not in caches[source].meta["shapes"]:
                raise InputError(
                    f"{caches[source].folder}: has no stills, which targets of single frames need; "
                    "set encode.stills to 1 or more and run encode"
                )
        factors = {source: float(cache.meta["vae_scaling_factor"]) for source, cache in caches.items()}
        if len(set(factors.values())) != 1:
            raise InputError(f"latent caches: vae_scaling_factor must agree, got {factors}")
        self._scaling_factor = next(iter(factors.values()))
        with_stills = [cache for source, cache in caches.items() if stills and source == "synthetic"]
        self._num_stills = with_stills[0].meta["shapes"][STILLS[0]][0] if with_stills else 1

    def train_batch(self, step: int, slots: Sequence[int]) -> Batch:
        """The samples of some slots of a step's global batch."""
        sizes = {source: len(indices) for source, indices in self._train.items()}
        drawn = batch_indices(self._seed, step, self._global_batch, sizes, self._probabilities)
        samples = [
            (source, int(self._train[source][index])) for source, index in (drawn[slot] for slot in slots)
        ]
        return self._assemble(samples, step, slots, "", self._drop)

    def held_out_batches(
        self, source: str, limit: int, slots: Sequence[range], dropped: Sequence[str] = ()
    ) -> Iterator[Batch]:
        """Held-out samples with noise and timesteps that never change, this rank's share.

        The number of samples is rounded up to whole global batches, repeating samples (each time with other
        noise), so that all ranks make the same number of passes and any number of them sees the same samples.

        Args:
            limit: samples of the source at most, before rounding up.
            slots: of this rank (`rank_slots`).
            dropped: conditions that no sample has; all have the others.
        """
        drop = {name: float(name in dropped) for name in STREAMS}
        held_out = self._held_out[source]
        for first in range(0, min(limit, len(held_out)), self._global_batch):
            for micro in slots:
                own = range(first + micro.start, first + micro.stop)
                samples = [(source, int(held_out[slot % len(held_out)])) for slot in own]
                yield self._assemble(samples, 0, own, f"held_out_{source}_", drop)

    def _assemble(
        self,
        samples: Sequence[tuple[str, int]],
        step: int,
        slots: Sequence[int],
        purpose: str,
        drop: Mapping[str, float],
    ) -> Batch:
        stored = self._stack(samples)
        shape = tuple(stored["mean"].shape[1:])
        posterior = slot_noise(self._seed, step, slots, shape, purpose=f"{purpose}posterior")
        uniform = slot_uniform(self._seed, step, slots, f"{purpose}timestep", 1)[:, 0]
        if not purpose and self._timestep_exponent != 1.0:
            uniform = uniform**self._timestep_exponent
        latents = (stored["mean"].float() + stored["std"].float() * posterior) * self._scaling_factor
        latents = pad_frames(latents, self._patch_size_t)
        noise = slot_noise(self._seed, step, slots, tuple(latents.shape[1:]), purpose=f"{purpose}noise")
        stills = self._stills_of(stored, step, slots, purpose) if self._stills else None
        chance = slot_uniform(self._seed, step, slots, f"{purpose}dropout", len(STREAMS))
        threshold = torch.tensor([drop[name] for name in STREAMS])
        return Batch(
            latents=latents,
            noise=noise,
            timesteps=(uniform * self._num_train_timesteps).long().clamp_(max=self._num_train_timesteps - 1),
            tokens={name: stored[name] for name in STREAMS},
            keep={name: chance[:, i] >= threshold[i] for i, name in enumerate(STREAMS)},
            synthetic=torch.tensor([source == "synthetic" for source, _ in samples]),
            keys=tuple(self._caches[source].keys[index] for source, index in samples),
            stills=stills,
        )

    def _stills_of(
        self, stored: Mapping[str, Tensor], step: int, slots: Sequence[int], purpose: str
    ) -> Tensor:
        """One still a sample, `[B, 1, C, h, w]` in the model's space: a draw of its VAE posterior."""
        mean, std = (stored[name].float() for name in STILLS)
        uniform = slot_uniform(self._seed, step, slots, f"{purpose}still", 1)[:, 0]
        which = (uniform * mean.shape[1]).long().clamp_(max=mean.shape[1] - 1)
        rows = torch.arange(len(which))
        shape = (1, *mean.shape[2:])
        posterior = slot_noise(self._seed, step, slots, shape, purpose=f"{purpose}still_posterior")
        return (mean[rows, which, None] + std[rows, which, None] * posterior) * self._scaling_factor

    def _stack(self, samples: Sequence[tuple[str, int]]) -> dict[str, Tensor]:
        parts, places = [], []
        for source, cache in self._caches.items():
            where = [i for i, (name, _) in enumerate(samples) if name == source]
            if where:
                parts.append(self._read(source, cache, [samples[i][1] for i in where]))
                places.extend(where)
        if len(parts) == 1:
            return dict(parts[0])
        order = torch.tensor(places).argsort()
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    def _read(self, source: str, cache: LatentCache, indices: Sequence[int]) -> dict[str, Tensor]:
        """Stored tensors; with stills a real sample gets zeros, without them none is passed on."""
        found = cache.batch(indices)
        if not self._stills:
            return {name: value for name, value in found.items() if name not in STILLS}
        if source != "synthetic":
            num, _, *size = found["mean"].shape
            found |= {name: found["mean"].new_zeros(num, self._num_stills, *size) for name in STILLS}
        return found


def rank_slots(global_batch: int, micro_batch: int, rank: int, num_processes: int) -> list[range]:
    """The slots of a rank, a range a micro-batch: slot = (micro * processes + rank) * micro_batch + i."""
    stride = micro_batch * num_processes
    starts = range(rank * micro_batch, global_batch, stride)
    return [range(start, start + micro_batch) for start in starts]


class Prefetcher(Generic[T]):
    """Makes the items of consecutive steps in a thread, a few ahead. A context manager.

    Args:
        make: step -> item.
        first, last: steps from `first` up to and without `last`.
        depth: items kept ready.
    """

    def __init__(self, make: Callable[[int], T], first: int, last: int, depth: int = 3) -> None:
        self._make, self._steps = make, range(first, last)
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetcher[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self) -> None:
        for step in self._steps:
            if self._stop.is_set():
                return
            try:
                self._ready.put((self._make(step), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again by the thread that trains
                self._ready.put((None, error))
                return

    def next(self) -> T:
        """The next step's item; waits for it.

        Raises:
            Whatever making it raised.
        """
        item, error = self._ready.get()
        if error is not None:
            raise error
        return item  # type: ignore[return-value]
