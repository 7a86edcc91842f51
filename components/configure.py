"""Resolve the parameters once, so that a stage's cache key holds what the stage reads and nothing else."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def configure(config: str, profile: str, overrides: str, code_version: str) -> NamedTuple(
    "Settings",
    [
        ("source", str),
        ("synthesize", str),
        ("ingest", str),
        ("validate", str),
        ("encode", str),
        ("pretrain", str),
        ("finetune", str),
        ("evaluate", str),
        ("register", str),
    ],
):  # type: ignore[valid-type]
    """Resolve the parameters; returns for each stage the JSON of what it declares.

    Args:
        config: JSON of all parameters; empty: the image's own params.yaml.
        profile: names of the image's profiles, separated by commas, laid over params.yaml.
        overrides: `key.path=value`, separated by semicolons.
        code_version: part of the cache key.
    """
    from collections import namedtuple

    from sugar.stages.component import settings_of_stages

    settings = settings_of_stages(config, profile, overrides)
    return namedtuple("Settings", settings)(**settings)
