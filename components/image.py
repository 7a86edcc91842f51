"""The image that every component runs in; `SUGAR_IMAGE` names another one when a pipeline is compiled."""

import os
from typing import Any

IMAGE = os.environ.get("SUGAR_IMAGE", "sugar:0.1.0")
USER = 1000
"""The user of the image (Dockerfile)."""


def as_ordinary_user(task: Any) -> Any:
    """The task, whose pod says that it is not root's: a "restricted" namespace takes no other.

    The rest that it asks for, Kubeflow Pipelines sets itself (kfp.kubernetes.set_security_context).
    """
    from kfp import kubernetes

    return kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
