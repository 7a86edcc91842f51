"""The image that every component runs in; `SUGAR_IMAGE` names another one when a pipeline is compiled."""

import os
from typing import Any

from sugar.launch.pod import LOGIN, LOGIN_SECRET

IMAGE = os.environ.get("SUGAR_IMAGE", "sugar:0.1.0")
USER = 1000
"""The user of the image (Dockerfile)."""


def for_cluster(task: Any) -> Any:
    """The task, whose pod says that it is not root's and logs in to MLflow with the namespace's secret.

    What else a "restricted" namespace asks for, Kubeflow Pipelines sets itself (kfp-kubernetes,
    `set_security_context`). On one's own machine both are ignored.
    """
    from kfp import kubernetes

    kubernetes.use_secret_as_env(task, LOGIN_SECRET, LOGIN, optional=True)
    return kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
