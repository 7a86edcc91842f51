"""Where the shards of a stage are made: `shards.driver` of params.yaml, and the body of one group.

`python -m sugar.stages.sharding JOB.json GROUP` is what a pod of an Indexed Job runs; a task of the pipeline
`pipelines/shards.py` calls `run_group`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sugar.config import InputError, Params, params_from_dict

if TYPE_CHECKING:
    from sugar.data.shard_driver import Elsewhere
    from sugar.stages.stage import Stage

SHARDED = ("synthesize", "ingest")
PROJECT = Path(__file__).resolve().parents[2]


def cluster_driver(
    stage: Stage, params: Params, inputs: Mapping[str, Path], outputs: Mapping[str, Path]
) -> Elsewhere | None:
    """What makes the stage's shards when it is not this process: an Indexed Job, a pipeline, or None.

    The job's description lies beside the output folder, on the volume that the pods mount.

    Raises:
        InputError: a folder of the stage, or that of the clips, does not lie on that volume.
    """
    settings = params.shards
    if settings.driver == "pool" or stage.name not in SHARDED:
        return None
    from sugar.data.atomic import write_json_atomic
    from sugar.launch.shards import indexed_job, run_indexed_job
    from sugar.launch.train_job import Cluster

    assert settings.cluster is not None  # the schema asks for it
    cluster = Cluster(**settings.cluster.model_dump())
    (folder,) = (path for name, path in outputs.items() if name != "metrics")
    _check_on_volume(stage.name, [*inputs.values(), folder], cluster.mount_path)
    if stage.name == "ingest" and params.ingest.kind == "folder":
        clips = params.given(str(params.ingest.folder))
        if not clips.is_relative_to(cluster.mount_path):
            raise InputError(
                f"ingest.folder must lie below shards.cluster.mount_path, {cluster.mount_path}, where this "
                f"machine and the pods mount the same volume, got {clips}"
            )
    description = folder.parent / f".{folder.name}.job.json"

    def elsewhere(num_shards: int) -> None:
        groups = min(settings.num_groups, num_shards)
        write_json_atomic(
            description,
            {
                "stage": stage.name,
                "folder": str(params.folder),
                "params": params.as_dict(),
                "inputs": {name: str(path) for name, path in inputs.items()},
                "outputs": {name: str(path) for name, path in outputs.items() if name != "metrics"},
            },
        )
        if settings.driver == "parallel_for":
            _run_parallel_for(description, groups)
            return
        group = f"$(JOB_COMPLETION_INDEX)/{groups}"
        command = ["python", "-m", "sugar.stages.sharding", str(description), group]
        run_indexed_job(indexed_job(stage.name, cluster, command, groups, settings.parallelism))

    return elsewhere


def _check_on_volume(stage: str, folders: Sequence[Path], mount_path: str) -> None:
    """The pods have no other folders."""
    for folder in folders:
        if not folder.is_relative_to(mount_path):
            raise InputError(
                f"{stage}: {folder} must lie below shards.cluster.mount_path, {mount_path}, where this "
                f"machine and the pods mount the same volume: set paths.root to a folder there. "
                f"A Kubeflow task writes elsewhere: in a pipeline shards.driver must be pool"
            )


def _run_parallel_for(description: Path, groups: int) -> None:
    """Run `pipelines.shards` in a process of its own: kfp is not imported below `components`.

    Raises:
        ClusterFailure: the run could not be started or followed.
    """
    from sugar.launch.kubernetes_api import ClusterFailure

    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.shards", str(description), str(groups)],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise ClusterFailure(f"pipelines.shards ended with exit code {done.returncode}; its error is above")


def run_group(description: Path, group: str) -> int:
    """Make one group's shards of the stage that a description names; returns how many were made."""
    from sugar.data.shard_driver import GroupDone, ShardGroup, shards_by
    from sugar.stages import STAGES
    from sugar.stages.stage import LOCATIONS
    from sugar.tracking import start_run

    job = json.loads(description.read_text(encoding="utf-8"))
    stage = STAGES[job["stage"]]
    params = params_from_dict(job["params"], Path(job["folder"]))
    inputs, outputs = ({n: Path(p) for n, p in job[kind].items()} for kind in ("inputs", "outputs"))
    try:
        with shards_by(ShardGroup.parse(group)), start_run(stage.name, {}, enabled=False) as tracker:
            stage.body(params.only((*stage.reads, *LOCATIONS)), inputs, outputs, tracker)
    except GroupDone as done:
        return done.num_made
    raise RuntimeError(f"{stage.name} does not work by shards")


if __name__ == "__main__":
    print(f"{run_group(Path(sys.argv[1]), sys.argv[2])} shards made")
