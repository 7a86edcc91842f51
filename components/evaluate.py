"""Generate the benchmark, score it, write the report."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    settings: str,
    code_version: str,
    synthetic: dsl.Input[dsl.Dataset],
    real: dsl.Input[dsl.Dataset],
    stage1: dsl.Input[dsl.Model],
    stage2: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Artifact],
    evaluation: dsl.Output[dsl.Artifact],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Generate the benchmark, score it, write the report.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "evaluate",
        settings,
        inputs={"synthetic": synthetic, "real": real, "stage1": stage1, "stage2": stage2, "gate": gate},
        outputs={"evaluation": evaluation},
        figures=figures,
    )
