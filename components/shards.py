"""Make the shards of one group."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def shards(description: str, group: str) -> int:
    """Make one group's shards of a stage, on a volume that all groups mount; returns how many were made.

    Args:
        description: file on that volume: stage, parameters, folders.
        group: "INDEX/COUNT".
    """
    from pathlib import Path

    from sugar.stages.sharding import run_group

    return run_group(Path(description), group)
