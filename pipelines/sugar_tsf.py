"""The whole chain as a Kubeflow pipeline: data, stage 1, stage 2, benchmark, registration.

`sugar submit pipelines/sugar_tsf.py` runs it; `python -m pipelines.sugar_tsf` writes `sugar_tsf.yaml`.
"""

# kfp types a component as the plain function that it decorates, which a pipeline calls in another way.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

from pathlib import Path

from kfp import compiler, dsl

import components
from components.image import IMAGE, for_cluster
from sugar import __version__
from sugar.data.origin import image_environment

RETRIES = 2
PACKAGE = Path(__file__).with_suffix(".yaml")


def _sized(task: dsl.PipelineTask, cpus: str, memory: str) -> dsl.PipelineTask:
    """Pod, requests, limits and retries of a task: a pod that is evicted is not the end of a run."""
    for_cluster(task)
    for name, value in image_environment(IMAGE).items():
        task.set_env_variable(name, value)
    task.set_cpu_request(cpus).set_cpu_limit(cpus).set_memory_request(memory).set_memory_limit(memory)
    return task.set_retry(num_retries=RETRIES, backoff_duration="30s", backoff_factor=2.0)


def _on_gpus(task: dsl.PipelineTask, gpus: int) -> dsl.PipelineTask:
    return task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)


@dsl.pipeline(
    name="sugar-tsf",
    description="Subject-driven video: triplets, gate, latents, two trainings, benchmark, registration.",
)
def sugar_tsf(
    config: str = "",
    profile: str = "",
    overrides: str = "",
    code_version: str = __version__,
    encoding_gpus: int = 0,
    training_gpus: int = 0,
):
    """The chain.

    Args:
        config: JSON of all parameters; empty: the image's params.yaml with `profile` and `overrides`.
        profile: profiles of the image, separated by commas.
        overrides: `key.path=value` separated by semicolons.
        code_version: git revision or image digest; another one runs every stage again.
        encoding_gpus: GPUs of each task that runs frozen networks (encode, evaluate).
        training_gpus: GPUs of each training task.
    """
    settings = for_cluster(
        components.configure(config=config, profile=profile, overrides=overrides, code_version=code_version)
    ).outputs

    def common(stage: str) -> dict:
        return {"settings": settings[stage], "code_version": code_version}

    source = _sized(components.source(**common("source")), "2", "8G")
    synthesize = _sized(
        components.synthesize(**common("synthesize"), subjects=source.outputs["subjects"]), "4", "16G"
    )
    ingest = _sized(components.ingest(**common("ingest")), "4", "16G")
    synthetic, real = synthesize.outputs["synthetic"], ingest.outputs["real"]

    validate = _sized(components.validate(**common("validate"), synthetic=synthetic, real=real), "2", "8G")
    latents = {}
    for name, triplets in (("real", real), ("synthetic", synthetic)):
        encode = components.encode(**common("encode"), source=name, triplets=triplets).after(validate)
        _on_gpus(_sized(encode, "4", "32G"), encoding_gpus).set_display_name(f"encode {name}")
        latents[name] = encode.outputs["latents"]

    pretrain = components.pretrain(**common("pretrain"), latents_real=latents["real"])
    _on_gpus(_sized(pretrain, "8", "64G"), training_gpus)
    finetune = components.finetune(
        **common("finetune"),
        latents_real=latents["real"],
        latents_synthetic=latents["synthetic"],
        stage1=pretrain.outputs["stage1"],
    )
    _on_gpus(_sized(finetune, "8", "64G"), training_gpus)

    evaluate = components.evaluate(
        **common("evaluate"),
        synthetic=synthetic,
        real=real,
        stage1=pretrain.outputs["stage1"],
        stage2=finetune.outputs["stage2"],
        gate=validate.outputs["gate"],
    )
    _on_gpus(_sized(evaluate, "4", "32G"), encoding_gpus)
    register = components.register(
        **common("register"),
        stage2=finetune.outputs["stage2"],
        evaluation=evaluate.outputs["evaluation"],
    )
    # A registration is an act, not a result: it happens in every run.
    _sized(register, "1", "4G").set_caching_options(enable_caching=False)


if __name__ == "__main__":
    compiler.Compiler().compile(sugar_tsf, str(PACKAGE))
