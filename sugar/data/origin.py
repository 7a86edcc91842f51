"""Which code and which container image made a shard: provenance beside the samples, never part of them.

The same sample may be made by another revision or image, so neither goes into a shard's tar, into the digest
of a sample or into that of a dataset: latents are not encoded anew, and a run that was killed and continued
by a newer image is the same dataset (decision 0019).
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from sugar.data.atomic import sha256_bytes

GIT_REVISION, IMAGE_DIGEST = "SUGAR_GIT_REVISION", "SUGAR_IMAGE_DIGEST"
"""Environment of a container: the first is set by the image, the second by whoever starts it. Where a
revision is given, no checkout is asked."""
CODE = ("sugar", "components", "constraints.txt")


def origin() -> dict[str, str | None]:
    """{"git_revision", "image_digest"} of this process; None where unknown."""
    checkout = Path(__file__).resolve().parents[2]
    return {
        "git_revision": os.environ.get(GIT_REVISION) or git_revision(checkout),
        "image_digest": os.environ.get(IMAGE_DIGEST) or None,
    }


@functools.cache
def git_revision(folder: Path) -> str | None:
    """Revision of the checkout, 12 digits, and "-" with a digest of its edits; None where there is none."""

    def git(*arguments: str) -> bytes | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, check=False, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    revision = git("rev-parse", "HEAD")
    if revision is None:
        return None
    edits = git("diff", "HEAD", "--", *CODE) or b""
    return revision.decode().strip()[:12] + (f"-{sha256_bytes(edits)[:8]}" if edits else "")


def image_environment(image: str) -> dict[str, str]:
    """What a container of an image is told: its digest, where the image is named by one (name@sha256:...)."""
    _, at, digest = image.partition("@")
    return {IMAGE_DIGEST: digest} if at else {}
