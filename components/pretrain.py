"""Train stage 1 on real video."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pretrain(
    settings: str,
    code_version: str,
    latents_real: dsl.Input[dsl.Dataset],
    stage1: dsl.Output[dsl.Model],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Train stage 1 on real video.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "pretrain",
        settings,
        inputs={"latents_real": latents_real},
        outputs={"stage1": stage1},
        figures=figures,
    )
