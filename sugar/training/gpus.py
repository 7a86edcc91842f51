"""GPUs by their data sheets: memory, and the operations a second that a step is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Memory as torch reports it, dense bf16 and fp32 (TF32 off) operations of the data sheet."""

    memory_gib: float
    bf16_tflops: float
    fp32_tflops: float

    def tflops(self, precision: str) -> float:
        """Peak of a precision, TFLOP/s."""
        return self.bf16_tflops if precision == "bf16" else self.fp32_tflops


GPUS: Mapping[str, Gpu] = {
    "l4": Gpu(22.0, 121, 30.3),
    "rtx-4090": Gpu(23.5, 165, 82.6),
    "a6000": Gpu(47.4, 155, 38.7),
    "l40s": Gpu(44.4, 362, 91.6),
    "a100-40gb": Gpu(39.4, 312, 19.5),
    "a100-80gb": Gpu(79.1, 312, 19.5),
    "h100": Gpu(79.1, 989, 67.0),
    "h200": Gpu(139.7, 989, 67.0),
    "b200": Gpu(178.0, 2250, 75.0),
}


def known_gpu(device_name: str) -> Gpu | None:
    """The GPU of a driver's name, such as "NVIDIA H100 80GB HBM3"; None for one that is not in the table."""
    words = device_name.lower().replace("-", " ").split()
    for name, gpu in GPUS.items():
        if all(any(part in word for word in words) for part in name.split("-")):
            return gpu
    return None
