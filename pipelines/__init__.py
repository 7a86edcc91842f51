"""Kubeflow pipelines: wiring, resources, retries and caching of the components."""
