"""Register the model with its scores."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    settings: str,
    code_version: str,
    stage2: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Register the model with its scores.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "register",
        settings,
        inputs={"stage2": stage2, "evaluation": evaluation},
        outputs={"register": record},
        figures=figures,
    )
