"""What a task of a Kubeflow pipeline can ask for, which is less than a pod can."""

from __future__ import annotations

import re
from collections.abc import Mapping

RULES = {
    "cpu": (r"([0-9]*\.)?[0-9]+m?", "a number of processors, such as 8, 0.5 or 500m"),
    "memory": (r"[0-9]+([EPTGMK]i?)?", "a whole number of bytes, such as 64Gi"),
}
"""Name -> what kfp's set_cpu_limit and set_memory_limit take."""


def check_task_resources(resources: Mapping[str, str]) -> None:
    """Check `shards.cluster.resources` for tasks: cpu, memory and a number of one accelerator.

    Raises:
        ValueError: more than that.
    """
    accelerators = sorted(resources.keys() - RULES.keys())
    for name, value in resources.items():
        if name in accelerators and "/" not in name:
            raise ValueError(
                f"cluster.resources must name cpu, memory and an accelerator, such as nvidia.com/gpu, alone "
                f"when driver is parallel_for, got {name}: {value}"
            )
        pattern, rule = RULES.get(name, (r"[0-9]+", "a whole number"))
        if not re.fullmatch(pattern, value):
            raise ValueError(
                f"cluster.resources.{name} must be {rule} when driver is parallel_for, got {value!r}"
            )
    if len(accelerators) > 1:
        named = ", ".join(f"{name}: {resources[name]}" for name in accelerators)
        raise ValueError(
            f"cluster.resources must name one accelerator at most when driver is parallel_for, got {named}"
        )
