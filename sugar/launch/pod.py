"""What every pod of ours declares: how little it may do, and what it logs in to MLflow with.

A namespace that enforces the "restricted" Pod Security Standard takes no pod that does not say the former.
The user is the image's (1000 in ours). Files of the volume belong to the group 1000; they are handed over to
it only where the volume's root does not have it yet, since millions of shards would be walked at every start.
"""

from typing import Any

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
LOGIN_SECRET = "mlflow-client"
"""Secret of the namespace with `username` and `password`; where there is none, nobody logs in."""
LOGIN = {"username": "MLFLOW_TRACKING_USERNAME", "password": "MLFLOW_TRACKING_PASSWORD"}


def login_environment() -> list[dict[str, Any]]:
    """The entries of a container's `env` that name the secret."""
    return [
        {
            "name": variable,
            "valueFrom": {"secretKeyRef": {"name": LOGIN_SECRET, "key": key, "optional": True}},
        }
        for key, variable in LOGIN.items()
    ]
