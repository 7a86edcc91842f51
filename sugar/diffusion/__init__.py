"""Objective, dual guidance, early dropping of the image and the sampler; the denoiser is a callable."""
