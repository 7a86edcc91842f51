"""Write a latent cache."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def encode(
    settings: str,
    code_version: str,
    source: str,
    triplets: dsl.Input[dsl.Dataset],
    latents: dsl.Output[dsl.Dataset],
    figures: dsl.Output[dsl.Metrics],
) -> None:
    """Write the latent cache of one dataset; the pipeline runs it for each, so that a change of one dataset
    leaves the other's cache, and what is trained on it, as they are.

    Args:
        settings: JSON of the parameters that the stage declares.
        code_version: part of the cache key: other code, other results.
        source: "real" or "synthetic".
    """
    from sugar.stages.component import run_component

    run_component(
        "encode",
        settings,
        inputs={source: triplets},
        outputs={f"latents_{source}": latents},
        figures=figures,
    )
