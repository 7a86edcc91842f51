"""Make customised image-video-text triplets from the subjects."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def synthesize(
    settings: str,
    code_version: str,
    subjects: dsl.Input[dsl.Dataset],
    synthetic: dsl.Output[dsl.Dataset],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Make customised image-video-text triplets from the subjects.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
    """
    from sugar.stages.component import run_component

    run_component(
        "synthesize",
        settings,
        inputs={"subjects": subjects},
        outputs={"synthetic": synthetic},
        figures=figures,
    )
