"""Train stage 2 on real and synthetic video."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finetune(
    settings: str,
    code_version: str,
    latents_real: dsl.Input[dsl.Dataset],
    latents_synthetic: dsl.Input[dsl.Dataset],
    stage1: dsl.Input[dsl.Model],
    stage2: dsl.Output[dsl.Model],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Train stage 2 on real and synthetic video.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "finetune",
        settings,
        inputs={"latents_real": latents_real, "latents_synthetic": latents_synthetic, "stage1": stage1},
        outputs={"stage2": stage2},
        figures=figures,
    )
