"""DeepSpeed behind a small face: ZeRO 0-3, fp32 or bf16, CPU or CUDA, one process or many.

The only module that imports deepspeed. What the rest of the room needs of a sharded optimizer is said in one
notion, the *fragment*: a contiguous piece of a flattened parameter whose fp32 master weights live on this
rank. Every ZeRO stage is a list of fragments over a list of flat tensors, so EMA, checkpoints and exports are
written once and do not know the stage or the number of processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MOMENTS = ("exp_avg", "exp_avg_sq")
MIN_BUCKET, MAX_BUCKET = 1_000_000, 500_000_000
"""Elements of the buffer in which gradients are reduced: the trainable ones, within these bounds."""


@dataclass(frozen=True)
class Fragment:
    """A piece of one trainable parameter on this rank.

    Args:
        name: of the parameter; shape: of the whole parameter.
        start: first element within the flattened parameter; numel: elements.
        flat, offset: where the piece lies: tensor number `flat` of a list aligned with `Engine.masters`,
            from element `offset`.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    numel: int
    flat: int
    offset: int

    def of(self, flats: Sequence[Tensor]) -> Tensor:
        """The piece as a view into `flats`."""
        return flats[self.flat].view(-1).narrow(0, self.offset, self.numel)


@dataclass(frozen=True)
class StepResult:
    """`applied` is False when the gradient was not finite and the weights were left alone."""

    applied: bool
    grad_norm: float


class _GuardedAdamW(torch.optim.AdamW):
    """AdamW that clips by global norm and skips a non-finite gradient: what ZeRO 1 to 3 do themselves."""

    max_norm: float | None = None
    applied = True
    grad_norm = 0.0

    def step(self, closure: Any = None) -> Any:
        if self.max_norm is not None:
            grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
            self.grad_norm = float(norm)
            self.applied = bool(torch.isfinite(norm))
            if not self.applied:
                return None
            torch._foreach_mul_(grads, torch.clamp(self.max_norm / (norm + 1e-6), max=1.0))
        return super().step(closure)


def choose_device(name: str = "auto") -> torch.device:
    """The device that "auto", "cpu" or "cuda" means for this process.

    Raises:
        RuntimeError: "cuda" without a CUDA device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("device 'cuda' was asked for, and torch sees no CUDA device")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _import_deepspeed(device: torch.device) -> ModuleType:
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    if os.environ["DS_ACCELERATOR"] != device.type:
        raise RuntimeError(
            f"DS_ACCELERATOR={os.environ['DS_ACCELERATOR']} in the environment contradicts device {device}"
        )
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if device.type == "cpu":
        # Its first collective would compile deepspeed_shm_comm for a minute, or fail without a compiler; gloo
        # serves. An empty table also spares the probing of all the other kernels.
        cast(dict[str, Any], vars(deepspeed.ops))["__compatible_ops__"] = {}
    return deepspeed


def init_processes(num_processes: int, device: torch.device) -> None:
    """Join the process group: torchrun's environment for several processes, a private store for one.

    Raises:
        RuntimeError: the group that runs has another size than `num_processes`.
    """
    dist = torch.distributed
    if not dist.is_initialized():
        backend = "gloo" if device.type == "cpu" else "nccl"
        if num_processes == 1:
            os.environ.setdefault("LOCAL_RANK", "0")
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        else:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            dist.init_process_group(backend)
    if dist.get_world_size() != num_processes:
        raise RuntimeError(
            f"training.num_processes is {num_processes}, and {dist.get_world_size()} processes are running"
        )


class Engine:
    """A module under DeepSpeed, with its AdamW.

    The fp32 master weights are those of `module` as given, also in bf16, where DeepSpeed alone would start
    from rounded ones.

    Args:
        module: fp32, `requires_grad` already set; it becomes the engine's.
        betas, weight_decay: of AdamW; the learning rate comes with every step.
        accumulation: forward and backward passes a step.
        max_grad_norm: clipping by global norm.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        zero_stage: int,
        precision: str,
        micro_batch: int,
        accumulation: int,
        betas: tuple[float, float],
        weight_decay: float,
        max_grad_norm: float,
        num_processes: int = 1,
        offload_optimizer: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or choose_device()
        self._deepspeed = _import_deepspeed(self.device)
        init_processes(num_processes, self.device)
        self.rank, self.world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._control = torch.distributed.new_group(backend="gloo") if self.world_size > 1 else None
        self.zero_stage, self.dtype, self.accumulation = zero_stage, DTYPES[precision], accumulation

        trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        start = {name: p.detach().clone() for name, p in trainable.items()}
        self.shapes = {name: tuple(p.shape) for name, p in trainable.items()}
        self._adamw = _GuardedAdamW(trainable.values(), betas=betas, weight_decay=weight_decay, fused=True)
        own_clipping = zero_stage == 0 and precision == "fp32"
        self._adamw.max_norm = max_grad_norm if own_clipping else None
        config = {
            "train_micro_batch_size_per_gpu": micro_batch,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": 0.0 if own_clipping else max_grad_norm,
            "bf16": {"enabled": precision == "bf16"},
            "zero_optimization": self._zero_config(
                sum(p.numel() for p in trainable.values()), offload_optimizer
            ),
            "zero_force_ds_cpu_optimizer": False,
            "zero_allow_untested_optimizer": True,
        }
        self._engine, _, _, _ = self._deepspeed.initialize(
            model=module, optimizer=self._adamw, config=config, dist_init_required=False
        )
        if own_clipping and self.world_size == 1:
            # Alone, DeepSpeed would still copy every gradient into a buffer and back.
            self._engine.enable_backward_allreduce = False
        self.module = module
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._updated = self._optimizer_tensors()
        self.masters = [tensor.detach() for tensor in self._updated]
        self.fragments = [f for name, p in self._parameters.items() for f in self._fragments_of(name, p)]
        self._reset_moments()
        for fragment in self.fragments:
            source = start[fragment.name].view(-1).narrow(0, fragment.start, fragment.numel)
            fragment.of(self.masters).copy_(source)
        self.publish()

    def _zero_config(self, num_trainable: int, offload_optimizer: bool) -> dict[str, Any]:
        bucket = max(MIN_BUCKET, min(MAX_BUCKET, num_trainable))
        config: dict[str, Any] = {
            "stage": self.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "overlap_comm": self.device.type == "cuda" and self.zero_stage > 0,
        }
        if offload_optimizer:
            config["offload_optimizer"] = {"device": "cpu", "pin_memory": self.device.type == "cuda"}
        return config

    # ---- the step ---------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward pass."""
        return self._engine(*args, **kwargs)

    def backward(self, loss: Tensor) -> None:
        """Gradients of one micro-batch's mean loss; the engine divides by the number of micro-batches."""
        self._engine.backward(loss)

    def step(self, learning_rate: float) -> StepResult:
        """End a micro-batch; on the last one of a step, clip, skip or update.

        Returns:
            The gradient's global norm before clipping (nan where it was not finite) and whether it was used.
        """
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        if self._adamw.max_norm is not None:
            applied, norm = self._adamw.applied, self._adamw.grad_norm
        else:
            applied = bool(self._engine.was_step_applied())
            norm = float(self._engine.get_global_grad_norm() or 0.0)
        return StepResult(applied, norm if applied else float("nan"))

    # ---- the fp32 state of this rank --------------------------------------------------------------------

    def _optimizer_tensors(self) -> list[Tensor]:
        """The flat fp32 tensors that AdamW updates on this rank, and by which it keys its state."""
        optimizer = self._engine.optimizer
        if self.zero_stage == 0:
            return [p for group in self._adamw.param_groups for p in group["params"]]
        if self.zero_stage < 3:
            return list(optimizer.single_partition_of_fp32_groups)
        return list(optimizer.fp32_partitioned_groups_flat)

    def _fragments_of(self, name: str, parameter: nn.Parameter) -> Iterator[Fragment]:
        shape = self.shapes[name]
        if self.zero_stage == 0:
            yield Fragment(name, shape, 0, parameter.numel(), list(self._parameters).index(name), 0)
        elif self.zero_stage < 3:
            mapping: Any = parameter._hp_mapping  # type: ignore[attr-defined]
            if mapping is not None:
                here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
                yield Fragment(name, shape, here.start, here.numel, mapping.param_group_index, there.start)
        else:
            optimizer = self._engine.optimizer
            flat, offset, padded = optimizer.grad_position[optimizer.get_param_id(parameter)]
            start = self.rank * padded
            numel = min(padded, parameter.ds_numel - start)  # type: ignore[attr-defined]
            if numel > 0:
                yield Fragment(name, shape, start, numel, flat, offset)

    def _reset_moments(self) -> None:
        for tensor in self._updated:
            self._adamw.state[tensor] = {
                "step": torch.zeros((), dtype=torch.float32, device=tensor.device),
                **{key: torch.zeros_like(tensor, requires_grad=False) for key in MOMENTS},
            }

    @property
    def owns_state(self) -> bool:
        """Whether this rank saves its fragments: under ZeRO 0 all ranks hold the same, and rank 0 does."""
        return self.zero_stage > 0 or self.rank == 0

    def moments(self, key: str) -> list[Tensor]:
        """AdamW's `exp_avg` or `exp_avg_sq`, aligned with `masters`."""
        return [self._adamw.state[tensor][key] for tensor in self._updated]

    @property
    def updates(self) -> int:
        """Updates made so far, skipped steps left out: AdamW's own count."""
        return int(self._adamw.state[self._updated[0]]["step"])

    @updates.setter
    def updates(self, count: int) -> None:
        for tensor in self._updated:
            self._adamw.state[tensor]["step"].fill_(count)

    @torch.no_grad()
    def publish(self) -> None:
        """Make the module's weights those of the masters, on all ranks. Collective."""
        optimizer = self._engine.optimizer
        if self.zero_stage == 0:
            for master, parameter in zip(self.masters, self._parameters.values(), strict=True):
                if master.data_ptr() != parameter.data_ptr():
                    parameter.data.copy_(master)
        elif self.zero_stage < 3:
            optimizer.update_lp_params()
        else:
            optimizer._partition_all_parameters()
            for i in range(len(self.masters)):
                optimizer._reassign_or_swap_out_partitioned_parameters(i)
            if optimizer.persistent_parameters:
                optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)

    @contextlib.contextmanager
    def weights(self, flats: Sequence[Tensor]) -> Iterator[nn.Module]:
        """The module in eval mode with other weights (EMA's) for a while, then with its own. Collective.

        Under ZeRO-3 a forward pass is collective too: all ranks must make the same ones.
        """
        own = [master.clone() for master in self.masters]
        try:
            for master, other in zip(self.masters, flats, strict=True):
                master.copy_(other)
            self.publish()
            self.module.eval()
            yield self.module
        finally:
            for master, mine in zip(self.masters, own, strict=True):
                master.copy_(mine)
            self.publish()
            self.module.train()

    def whole(self, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Parameters of the module as the forward pass sees them, whole, on the CPU. Collective."""
        found = {}
        parameters = dict(self.module.named_parameters())
        for name in names:
            gathered = (
                self._deepspeed.zero.GatheredParameters([parameters[name]])
                if self.zero_stage == 3
                else contextlib.nullcontext()
            )
            with gathered:
                found[name] = parameters[name].detach().to("cpu", copy=True)
        return found

    # ---- agreement between ranks ------------------------------------------------------------------------

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """The sum of a small CPU tensor over all ranks. Collective."""
        if self._control is not None:
            torch.distributed.all_reduce(values, group=self._control)
        return values

    def any_rank(self, flag: bool) -> bool:
        """Whether any rank says so. Collective."""
        return bool(self.sum_over_ranks(torch.tensor([float(flag)])) > 0)

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum_over_ranks(torch.zeros(1))

    def close(self) -> None:
        """Release the engine's buffers and hooks; the process group stays for the next engine."""
        self._engine.destroy()
