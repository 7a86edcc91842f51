"""The one training loop: every strategy, stage, ZeRO stage and number of processes goes through it.

What a step sees is a function of (seed, step), so a run continues from its newest checkpoint exactly as if it
had never stopped; nothing has to be asked for (see `resume`, `checkpoint`, `batches`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sugar.data.atomic import StageLock
from sugar.data.latents import LatentCache
from sugar.data.sampling import slot_seed
from sugar.model.checkpointing import prepare_blocks
from sugar.model.lora import Lora, merged, merged_name
from sugar.training.batches import SOURCES, Batch, Batches, Prefetcher, cache_digest, rank_slots
from sugar.training.checkpoint import CheckpointStore, State, export_weights
from sugar.training.denoise import (
    denoising_loss,
    learning_rate_at,
    load_noise_schedule,
    single_frame_loss,
)
from sugar.training.ema import Ema
from sugar.training.engine import MOMENTS, Engine, StepResult, choose_device
from sugar.training.frozen import digests
from sugar.training.gpus import known_gpu
from sugar.training.job import TrainingJob
from sugar.training.output import LORA, finished_metrics, write_lora, write_output
from sugar.training.reporting import Log, Report
from sugar.training.resume import resume_point, run_identity
from sugar.training.signals import Preempted, StopRequest
from sugar.training.start import choose_trainable, fixed_tensors, load_start, standardising_samples
from sugar.training.throughput import Meter, model_flops, token_lengths

logger = logging.getLogger(__name__)

Sample = Callable[[nn.Module, int], None]


class TrainingDiverged(RuntimeError):
    """Too many steps in a row had a non-finite gradient; the last good checkpoint is kept."""

    expected = True


def train(job: TrainingJob, log: Log | None = None, sample: Sample | None = None) -> dict[str, float]:
    """Run a job to its end, from its newest checkpoint where there is one.

    Leaves in `job.output`: `transformer` (EMA weights) and `transformer_raw`, both for `from_pretrained`
    (LoRA is merged into them, and by itself in `lora`); `frozen.json` (name -> SHA-256 of every frozen
    tensor); `history.csv` and `held_out.csv`; `training.json`, written last. A job that is complete already
    returns its metrics at once.

    Args:
        log: takes (name -> number, step) on rank 0.
        sample: takes (model with EMA weights in eval mode, step) on rank 0, and on every rank under ZeRO-3,
            where a forward pass is collective.

    Returns:
        The last means of loss and held-out loss, rates, counts.

    Raises:
        InputError: bad job, folder, cache or checkpoint.
        TrainingDiverged: `job.max_bad_steps` steps in a row were skipped.
        Preempted: SIGTERM or SIGINT came; the process ends with code 75, "start me again".
    """
    trainer = Trainer(job, log or (lambda metrics, step: None), sample)
    if trainer.finished is not None:
        logger.info("%s: complete already", job.output)
        return trainer.finished
    alone = (
        StageLock(trainer.store.folder, job.phase) if trainer.engine.rank == 0 else contextlib.nullcontext()
    )
    try:
        with alone, StopRequest() as stop:
            trainer.resume()
            return trainer.run(stop)
    finally:
        trainer.close()


class Trainer:
    """A job with everything it needs at hand; `train` is the way in."""

    def __init__(self, job: TrainingJob, log: Log, sample: Sample | None) -> None:
        self.job, self.log, self.sample = job, log, sample
        self.output = Path(job.output)
        shares = {"real": 1 - job.synthetic_probability, "synthetic": job.synthetic_probability}
        folders = {"real": job.real_latents, "synthetic": job.synthetic_latents}
        self.caches = {s: LatentCache.open(Path(str(folders[s]))) for s in SOURCES if shares[s] > 0}
        example = next(iter(self.caches.values())).get(0)
        model = load_start(
            job.init_from,
            dino_dim=example["dino"].shape[-1],
            clip_dim=example["clip"].shape[-1],
            attention_design=job.attention_design,
            projection_hidden=job.projection_hidden,
            seed=job.seed,
            samples=standardising_samples(list(self.caches.values())),
        )
        self.scheduler = load_noise_schedule(job.scheduler)
        self.identity = run_identity(
            job, model, self.scheduler, {source: cache_digest(cache) for source, cache in self.caches.items()}
        )
        self.finished = finished_metrics(self.output, self.identity)
        if self.finished is not None:
            return
        config: Any = model.config
        self.num_train_timesteps = int(self.scheduler.config.num_train_timesteps)
        self.batches = Batches(
            self.caches,
            {source: shares[source] for source in self.caches},
            seed=job.seed,
            global_batch=job.global_batch,
            num_train_timesteps=self.num_train_timesteps,
            drop={"dino": job.drop_dino, "clip": job.drop_clip, "text": job.drop_text},
            patch_size_t=config.patch_size_t,
            stills=job.single_frames,
            timestep_exponent=job.timestep_exponent,
        )
        self._prepare_engine(model)
        lengths = token_lengths(example, config.patch_size, config.patch_size_t)
        flops = model_flops(model, lengths, checkpointing=job.gradient_checkpointing is True)
        self.meter = Meter(job.global_batch, lengths, flops.total, self._peak_flops())
        self.report = Report(
            job.phase, job.steps, self.num_train_timesteps, self.engine, self.meter, self.log
        )
        self.skipped = self.bad_in_a_row = self.step = 0

    def _prepare_engine(self, model: Any) -> None:
        job = self.job
        prepare_blocks(model, job.gradient_checkpointing, job.compile_blocks, job.attention_backend)
        self.lora = None if job.lora is None else Lora(**job.lora)
        frozen = choose_trainable(model, job.frozen_fraction, job.trainable, self.lora, job.seed)
        self.lora_config = {} if self.lora is None else model.peft_config["default"].to_dict()
        self.fixed = fixed_tensors(model)
        self.frozen = digests((name, self.fixed[name]) for name in frozen)
        self.config_json = model.to_json_string()
        model.train()
        self.engine = Engine(
            model,
            zero_stage=job.zero_stage,
            precision=job.precision,
            micro_batch=job.micro_batch,
            accumulation=job.accumulation,
            betas=job.betas,
            weight_decay=job.weight_decay,
            max_grad_norm=job.max_grad_norm,
            num_processes=job.num_processes,
            offload_optimizer=job.offload_optimizer,
            device=choose_device(job.device),
        )
        self.ema = Ema(self.engine.masters, job.ema_decay)
        self.slots = rank_slots(job.global_batch, job.micro_batch, self.engine.rank, job.num_processes)
        self.store = CheckpointStore(
            Path(job.checkpoints) / job.phase,
            keep=job.keep_checkpoints,
            rank=self.engine.rank,
            world_size=self.engine.world_size,
            export=self._export,
        )

    def _peak_flops(self) -> float | None:
        """Of all processes, by the data sheet; None for a device that is not in the table."""
        if self.engine.device.type != "cuda":
            return None
        gpu = known_gpu(torch.cuda.get_device_name(self.engine.device))
        return None if gpu is None else gpu.tflops(self.job.precision) * 1e12 * self.job.num_processes

    def _export(self, folder: Path, trained: Mapping[str, Tensor]) -> None:
        tensors = {**self.fixed, **trained}
        if self.lora is not None:
            write_lora(folder / LORA, tensors, self.lora_config)
            tensors = merged(tensors, self.lora.scale)
        export_weights(folder, self.config_json, tensors)

    # ---- resume and save --------------------------------------------------------------------------------

    def _flats(self) -> dict[str, Sequence[Tensor]]:
        moments = {key: self.engine.moments(key) for key in MOMENTS}
        return {"master": self.engine.masters, "ema": self.ema.flats, **moments}

    def resume(self) -> None:
        """Take over the newest checkpoint, if there is one. Collective."""
        found = resume_point(self.store, self.identity) if self.engine.rank == 0 else None
        step = int(self.engine.sum_over_ranks(torch.tensor([0 if found is None else found[0] + 1])))
        if step == 0:
            return
        folder = self.store.path(step - 1)
        record = json.loads((folder / "record.json").read_text())
        if record["frozen"] != self.frozen:
            raise RuntimeError(f"{folder}: the frozen tensors are not those that the run began with")
        state = State(folder)
        for kind, flats in self._flats().items():
            for fragment in self.engine.fragments:
                state.copy_into(kind, fragment.name, fragment.start, fragment.of(flats))
        self.engine.publish()
        self.engine.updates = record["updates"]
        self.step, self.skipped, self.bad_in_a_row = (
            record[key] for key in ("step", "skipped", "bad_in_a_row")
        )
        self.report.restore(record)
        if self.engine.rank == 0:
            logger.info("%s: continuing after step %d", self.job.phase, self.step)

    def save(self) -> None:
        """Write a checkpoint of the current step in the background. Collective."""
        record = {
            "identity": self.identity,
            "step": self.step,
            "updates": self.engine.updates,
            "skipped": self.skipped,
            "bad_in_a_row": self.bad_in_a_row,
            "frozen": self.frozen,
            **self.report.state(),
        }
        fragments, flats = (self.engine.fragments, self._flats()) if self.engine.owns_state else ([], {})
        self.store.save(self.step, fragments, flats, record)

    # ---- the loop ---------------------------------------------------------------------------------------

    def run(self, stop: StopRequest) -> dict[str, float]:
        """Train to the last step, then export."""
        job = self.job
        batches = Prefetcher(self._make_batches, self.step, job.steps)
        with self.report.bar(self.step) as bar, batches as prefetcher:
            while self.step < job.steps:
                self.meter.start()
                micro_batches = prefetcher.next()
                self.meter.batch_ready()
                result, rate = self._train_step(micro_batches)
                self.meter.stop()
                self.step += 1
                bar.update()
                self._count_bad_steps(result, micro_batches, rate)
                last = self.step == job.steps
                if last or self.step % job.log_every == 0:
                    self.report.tell(self.step, rate, self.skipped, bar)
                if last or self.step % job.held_out_every == 0:
                    self._report_held_out()
                if self.sample is not None and job.sample_every and self.step % job.sample_every == 0:
                    self._make_samples()
                if last or self.step % job.checkpoint_every == 0:
                    with self.meter.saving():
                        self.save()
                self.store.check()
                if self.engine.any_rank(stop.asked) and not last:
                    self._stop()
        return self._finish()

    def _make_batches(self, step: int) -> list[Batch]:
        return [self.batches.train_batch(step, slots) for slots in self.slots]

    def _train_step(self, micro_batches: Sequence[Batch]) -> tuple[StepResult, float]:
        job, engine = self.job, self.engine
        rate = learning_rate_at(
            self.step,
            peak=job.learning_rate,
            schedule=job.lr_schedule,
            warmup_steps=job.warmup_steps,
            steps=job.steps,
        )
        torch.manual_seed(slot_seed(job.seed, self.step, engine.rank, "layers"))
        result = StepResult(False, math.nan)
        for batch in micro_batches:
            loss_B = self._loss(engine, batch)
            engine.backward(loss_B.mean())
            result = engine.step(rate)
            self.report.add_losses(loss_B, batch)
        if result.applied:
            self.ema.update(engine.updates)
        self.report.add_step(result)
        return result, rate

    def _loss(self, denoise: Callable[..., Any], batch: Batch) -> Tensor:
        batch, dtype = batch.to(self.engine.device), self.engine.dtype
        if not self.job.single_frames:
            return denoising_loss(denoise, self.scheduler, batch, dtype)
        config: Any = self.engine.module.config
        return single_frame_loss(denoise, self.scheduler, batch, dtype, config.patch_size_t)

    def _count_bad_steps(self, result: StepResult, micro_batches: Sequence[Batch], rate: float) -> None:
        self.bad_in_a_row = 0 if result.applied else self.bad_in_a_row + 1
        if result.applied:
            return
        self.skipped += 1
        keys = [key for batch in micro_batches for key in batch.keys]
        logger.warning(
            "step %d: the gradient is not finite; the step is skipped (samples %s)", self.step, keys
        )
        if self.bad_in_a_row >= self.job.max_bad_steps:
            self.store.wait()
            kept = self.store.steps()
            raise TrainingDiverged(
                f"{self.job.phase}: {self.bad_in_a_row} steps in a row up to step {self.step} had a "
                f"non-finite gradient (learning rate {rate:.3g}, samples of the last one {keys[:4]}...); "
                f"last checkpoint: {self.store.path(kept[-1]) if kept else 'none'}. "
                "Lower training.learning_rate, or look at these samples."
            )

    def _save_for_good(self) -> None:
        """Have the current step on the disk, whole, before anybody goes on. Collective."""
        self.store.wait()
        self.engine.barrier()
        if not self.engine.any_rank(self.step in self.store.steps()):
            self.save()
            self.store.wait()
            self.engine.barrier()

    def _stop(self) -> None:
        self._save_for_good()
        raise Preempted(self.step)

    # ---- with the EMA weights ---------------------------------------------------------------------------

    def _report_held_out(self) -> None:
        with self.engine.weights(self.ema.flats) as model, torch.no_grad():
            self.report.tell_held_out(
                self.step, lambda batch: self._loss(model, batch), self._held_out_batches
            )

    def _held_out_batches(self, dropped: Sequence[str]) -> Iterator[Batch]:
        for source in self.caches:
            yield from self.batches.held_out_batches(
                source, self.job.held_out_samples, self.slots, dropped=dropped
            )

    def _make_samples(self) -> None:
        collective = self.engine.zero_stage == 3
        assert self.sample is not None
        with self.engine.weights(self.ema.flats) as model, torch.no_grad():
            if collective or self.engine.rank == 0:
                self.sample(model, self.step)
        self.engine.barrier()

    # ---- the end ----------------------------------------------------------------------------------------

    def _finish(self) -> dict[str, float]:
        self._save_for_good()
        self._check_frozen(self.engine.whole(list(self.frozen)))
        metrics = self._final_metrics()
        if self.engine.rank == 0:
            write_output(
                self.output,
                self.store.path(self.step),
                frozen={to: self.frozen[name] for name in self.frozen if (to := merged_name(name))},
                history=self.report.history,
                held_out_history=self.report.held_out_history,
                about={"phase": self.job.phase, "identity": self.identity, "metrics": metrics},
            )
        self.engine.barrier()
        return metrics

    def _check_frozen(self, now: Mapping[str, Tensor]) -> None:
        moved = [n for n, t in now.items() if not torch.equal(t, self.fixed[n].to(self.engine.dtype))]
        if moved:
            raise RuntimeError(
                f"{self.job.phase}: {len(moved)} frozen tensors changed, the first is {moved[0]}"
            )

    def _final_metrics(self) -> dict[str, float]:
        counts = {
            "steps": self.step,
            "trainable_parameters": sum(math.prod(shape) for shape in self.engine.shapes.values()),
            "frozen_parameters": sum(self.fixed[name].numel() for name in self.frozen),
        }
        return {name: float(value) for name, value in {**self.report.figures(), **counts}.items()}

    def close(self) -> None:
        """Let the writer thread end and release the engine."""
        if self.finished is None:
            self.store.close()
            self.engine.close()
