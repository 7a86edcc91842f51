"""Cut real clips into triplets."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(
    settings: str,
    code_version: str,
    real: dsl.Output[dsl.Dataset],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Cut real clips into triplets.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "ingest",
        settings,
        inputs={},
        outputs={"real": real},
        figures=figures,
    )
