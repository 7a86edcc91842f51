"""`SugarPipeline`: from a picture, a noun and a prompt to a video, as a diffusers pipeline."""

from sugar.pipeline.inputs import MIN_SUBJECT_SHARE
from sugar.pipeline.output import SugarPipelineOutput
from sugar.pipeline.sampling import Sampling, sample_latents
from sugar.pipeline.sugar_pipeline import SugarPipeline

__all__ = ["MIN_SUBJECT_SHARE", "Sampling", "SugarPipeline", "SugarPipelineOutput", "sample_latents"]
