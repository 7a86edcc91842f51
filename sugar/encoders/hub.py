"""Which commit a hub id stands for: the one in this machine's cache, as long as it is there.

What is computed with a network is kept under what the network is. So a newer commit of the same id is not
taken unnoticed: `hf download OWNER/NAME` fetches it, and from then on it is another network.
"""

from __future__ import annotations

from pathlib import Path

from sugar.config import InputError


def cached_commit(source: str | Path) -> str | None:
    """Commit of a hub id in the cache of huggingface_hub; None: it is not there, or `source` is a folder.

    Raises:
        InputError: it is neither a folder nor of the form of a hub id.
    """
    if Path(source).is_dir():
        return None
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name

    try:
        folder = repo_folder_name(repo_id=str(source), repo_type="model")
    except HFValidationError as error:
        raise InputError(f"{source}: no such folder, and not a hub id of the form owner/name") from error
    try:
        commit = (Path(constants.HF_HUB_CACHE) / folder / "refs" / "main").read_text().strip()
    except OSError:
        return None
    return commit or None


def hub_commit(source: str) -> str:
    """Commit that a hub id stands for; one that is not in the cache is asked for, as its download will.

    Raises:
        InputError: it cannot be found out.
    """
    if (commit := cached_commit(source)) is not None:
        return commit
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # of the HTTP client in use: no OSError in all of them

    try:
        commit = HfApi().model_info(source).sha
    except (HTTPError, OSError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{source}: no such folder, not in Hugging Face's cache, and the hub does not say which commit "
            f"it is ({reason}): hf download {source}, or name a folder"
        ) from error
    if not commit:
        raise InputError(f"{source}: the hub names no commit of it; name a folder")
    return commit
