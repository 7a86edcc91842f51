"""Kubeflow Pipelines components: one a stage, each a few lines around `sugar.stages`."""

from components.configure import configure
from components.encode import encode
from components.evaluate import evaluate
from components.finetune import finetune
from components.ingest import ingest
from components.pretrain import pretrain
from components.register import register
from components.shards import shards
from components.source import source
from components.synthesize import synthesize
from components.validate import validate

__all__ = [
    "configure",
    "encode",
    "evaluate",
    "finetune",
    "ingest",
    "pretrain",
    "register",
    "shards",
    "source",
    "synthesize",
    "validate",
]
