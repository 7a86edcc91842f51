"""The shards of one stage as a Kubeflow pipeline: `dsl.ParallelFor` over groups, on one volume.

What `shards.driver: parallel_for` runs: `python -m pipelines.shards JOB.json GROUPS` starts it and waits.
`python -m pipelines.shards` writes `shards.yaml`. Every item has a pod of its own driver, so there are 32
groups at most; for more there is the Indexed Job.
"""

# kfp types a component as the plain function that it decorates, which a pipeline calls in another way.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

import components
from components.image import IMAGE, for_cluster
from sugar.data.origin import image_environment

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).with_suffix(".yaml")
RETRIES = 3
POLL_SECONDS = 5
MAX_SECONDS = 30 * 24 * 3600
EXAMPLE = {
    "image": IMAGE,
    "volume_claim": "sugar-data",
    "mount_path": "/data",
    "resources": {"cpu": "4", "memory": "16G"},
}
"""The cluster that `shards.yaml` is compiled for."""


def shards_pipeline(cluster: Mapping[str, Any], parallelism: int) -> Any:
    """The pipeline (description: str, groups: list of "INDEX/COUNT").

    Args:
        cluster: image, volume_claim, mount_path, resources (cpu, memory, one accelerator) of
            `shards.cluster`.
        parallelism: groups at a time.
    """

    @dsl.pipeline(name="sugar-shards", description="Shards of one stage, a group of them in each task.")
    def sugar_shards(description: str, groups: list):
        """Make the shards.

        Args:
            description: file on the volume: stage, parameters, folders.
            groups: "0/32", "1/32", ...
        """
        with dsl.ParallelFor(groups, name="groups", parallelism=parallelism) as group:
            task = components.shards(description=description, group=group)
            for_cluster(task).set_container_image(cluster["image"])
            # What is complete on the volume is skipped there; a cache would believe in shards that are gone.
            task.set_caching_options(enable_caching=False)
            task.set_retry(num_retries=RETRIES, backoff_duration="30s", backoff_factor=2.0)
            resources = cluster["resources"]
            if "cpu" in resources:
                task.set_cpu_request(resources["cpu"]).set_cpu_limit(resources["cpu"])
            if "memory" in resources:
                task.set_memory_request(resources["memory"]).set_memory_limit(resources["memory"])
            for accelerator in resources.keys() - {"cpu", "memory"}:
                task.set_accelerator_type(accelerator).set_accelerator_limit(resources[accelerator])
            for name, value in image_environment(cluster["image"]).items():
                task.set_env_variable(name, value)
            kubernetes.mount_pvc(task, cluster["volume_claim"], cluster["mount_path"])

    return sugar_shards


def run(description: Path, groups: int, client: Any = None) -> None:
    """Start the pipeline for the job that a file describes, and wait until it ends.

    Groups that failed for good are told in the log: which shards are missing, the records say.

    Args:
        client: a `kfp.Client`; None: that of this pod or of the user's configuration.
    """
    if client is None:
        from kfp import Client

        client = Client()
    job = json.loads(description.read_text(encoding="utf-8"))
    settings = job["params"]["shards"]
    pipeline = shards_pipeline(settings["cluster"], min(settings["parallelism"], groups))
    arguments = {"description": str(description), "groups": [f"{i}/{groups}" for i in range(groups)]}
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "shards.yaml"
        compiler.Compiler().compile(pipeline, str(package))
        started = client.create_run_from_pipeline_package(
            str(package),
            arguments=arguments,
            experiment_name="sugar",
            namespace=settings["cluster"]["namespace"],
            service_account=settings["cluster"]["service_account"] or None,
        )
    ended = client.wait_for_run_completion(started.run_id, MAX_SECONDS, POLL_SECONDS)
    if str(ended.state).upper() != "SUCCEEDED":
        logger.warning("run %s of the shards of %s: %s", started.run_id, job["stage"], ended.state)


def main(argv: Sequence[str]) -> int:
    """With a description and a number of groups: run; without: compile `shards.yaml`."""
    if not argv:
        compiler.Compiler().compile(shards_pipeline(EXAMPLE, 16), str(PACKAGE))
        return 0
    for name in ("urllib3", "root"):  # what they say of a server that is not there, the error says
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            run(Path(argv[0]), int(argv[1]))
    except Exception as error:  # noqa: BLE001 (the last line of defence: told, with exit code 1)
        print(
            f"pipelines.shards: failed: {type(error).__name__}: {' '.join(str(error).split())}; is Kubeflow "
            f"Pipelines there? KF_PIPELINES_ENDPOINT=URL says where",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
