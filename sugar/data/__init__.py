"""Triplet shards and manifests, subjects, the latent cache, stateless sampling and the data gate."""
