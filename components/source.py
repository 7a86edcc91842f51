"""Gather labelled pictures of subjects."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def source(
    settings: str,
    code_version: str,
    subjects: dsl.Output[dsl.Dataset],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Gather labelled pictures of subjects.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "source",
        settings,
        inputs={},
        outputs={"subjects": subjects},
        figures=figures,
    )
