"""Check both manifests; a failing gate stops the run."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate(
    settings: str,
    code_version: str,
    synthetic: dsl.Input[dsl.Dataset],
    real: dsl.Input[dsl.Dataset],
    gate: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Check both manifests; a failing gate stops the run.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "validate",
        settings,
        inputs={"synthetic": synthetic, "real": real},
        outputs={"gate": gate},
        figures=figures,
        page=page,
    )
