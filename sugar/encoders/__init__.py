"""The pretrained networks around the model, each behind a few plain functions.

`vae` and `text` are CogVideoX's own, `image` holds the two identity encoders, `features` the pooled features
that filters and metrics compare, `segmentation` cuts the subject out and `flow` measures motion. Every
network is loaded with `from_pretrained` from a folder or a hub id; nothing here knows whether it is a small
or a published one.
"""
