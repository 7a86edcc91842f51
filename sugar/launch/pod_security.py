"""What a pod declares so that a namespace which enforces the "restricted" Pod Security Standard takes it.

The user is the image's (1000 in ours). Files of the volume belong to the group 1000; they are handed over to
it only where the volume's root does not have it yet, since millions of shards would be walked at every start.
"""

from typing import Any

POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
