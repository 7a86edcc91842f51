"""Loading of pretrained networks: one place for the rules that all loaders share.

Weights come from safetensors only, code from a model repository is never executed, and a checkpoint that
leaves a weight untouched is an error: a network is never silently part random. A hub id is loaded at the
commit that its digest names.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from sugar.config import InputError
from sugar.encoders.hub import cached_commit

logger = logging.getLogger(__name__)


def resolve_device(name: str) -> torch.device:
    """The torch device of a configuration value.

    Args:
        name: "auto" (cuda if there is one, else cpu; the choice is logged) or any torch device string.

    Raises:
        InputError: for a name torch does not know, or cuda where there is none.
    """
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        logger.info("networks.device auto: using %s", device)
        return device
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"networks.device must be auto or a torch device, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"networks.device is {name!r}, but this machine has no CUDA device")
    return device


def check_source(source: str | Path) -> str:
    """`source` as `from_pretrained` takes it, after the checks that give a clear message.

    A folder that exists is taken as it is; anything else must have the form of a hub id ("name" or
    "owner/name").

    Raises:
        InputError: when it is neither.
    """
    text = str(source)
    if text and Path(text).is_dir():
        return text
    if not text or Path(text).is_absolute() or text.startswith(".") or text.count("/") > 1:
        raise InputError(f"{text!r}: no such folder, and not a hub id of the form owner/name")
    return text


def load_network(
    network: Any,
    source: str | Path,
    *,
    subfolder: str = "",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    may_lack: Collection[str] = (),
    **config: Any,
) -> Any:
    """Load `network` (a class of transformers or diffusers) for inference: eval mode, no gradients.

    Args:
        network: class with `from_pretrained`.
        source: folder or hub id.
        subfolder: folder of the network inside `source`.
        may_lack: prefixes of weights that the checkpoint may lack because nothing here reads them.
        config: extra arguments of `from_pretrained` that change the architecture.

    Raises:
        InputError: when the folder or checkpoint is missing or unreadable, or does not hold every weight.
    """
    name = check_source(source)
    shown = f"{name}/{subfolder}" if subfolder else name
    # diffusers still calls the argument torch_dtype.
    dtype_name = "torch_dtype" if network.__module__.startswith("diffusers") else "dtype"
    try:
        model, loading = network.from_pretrained(
            name,
            subfolder=subfolder,
            revision=cached_commit(name) or "main",
            use_safetensors=True,
            output_loading_info=True,
            **{dtype_name: dtype},
            **config,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{shown}: cannot load {network.__name__}: {reason}") from error
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(tuple(may_lack)))
    if missing:
        raise InputError(
            f"{shown}: the checkpoint must hold every weight of {network.__name__}, "
            f"it lacks {len(missing)}, first {missing[0]!r}"
        )
    return model.to(device).eval().requires_grad_(False)


def load_tokenizer(source: str | Path, *, subfolder: str = "", pad_with_eos: bool = False) -> Any:
    """The tokenizer that lies beside a network (`AutoTokenizer`, so any tokenizer class of transformers).

    Args:
        pad_with_eos: where there is no padding token take the one that ends a sequence, as decoders without
            one (GPT-2, Llama, Mistral) are batched; the attention mask hides it.

    Raises:
        InputError: when there is none, or nothing to pad with.
    """
    from transformers import AutoTokenizer

    name = check_source(source)
    shown = f"{name}/{subfolder}" if subfolder else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, subfolder=subfolder, revision=cached_commit(name) or "main"
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{shown}: cannot load a tokenizer: {reason}") from error
    if tokenizer.pad_token_id is None and pad_with_eos and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        either = " or one that ends a sequence" if pad_with_eos else ""
        raise InputError(f"{shown}: the tokenizer must have a padding token{either}")
    return tokenizer
