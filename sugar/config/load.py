"""Reading params.yaml, overlays and `--set`, with errors of one line."""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sugar.config.params import Params
from sugar.config.schema import COMPARED, InputError

TRAINING = ("seed", "model", "conditions", "strategy", "training", "pretrain", "finetune")
"""What an ablation may change: everything else would need other data."""


class _Loader(yaml.SafeLoader):
    """Safe YAML where a key given twice is an error and 1e-5 is a number."""


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse_yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{name}{where}: not valid YAML: {problem}".replace("\n", " ")) from error


def _read_layer(file: Path, name: str) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text") from error
    data = _parse_yaml(text, name)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{name}: must be a table of sections, got {type(data).__name__}")
    return data


def _override_layer(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise InputError(f"--set must look like key.path=value, got {override!r}")
    return _nested(key.strip(), _parse_yaml(text, f"--set {key}"))


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copy.deepcopy(above)
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merge(below[key], value) if key in below else copy.deepcopy(value)
    return merged


def _contains(layer: Any, location: Sequence[Any]) -> bool:
    for part in location:
        if isinstance(layer, Mapping) and part in layer:
            layer = layer[part]
        elif isinstance(layer, Mapping) or not isinstance(layer, list):
            return not isinstance(layer, Mapping)
        else:
            return True
    return True


_RULES = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "finite_number": "must be a finite number",
}
_LIMITS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def _rule(kind: str, context: Mapping[str, Any], message: str) -> str:
    for key, sign in _LIMITS:
        if key in context:
            return f"must be {sign} {context[key]}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "multiple_of":
        return f"must be a multiple of {context['multiple_of']}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entries"
    if kind == "too_long":
        return f"must have at most {context['max_length']} entries"
    return _RULES.get(kind, message[0].lower() + message[1:])


def _known_keys(location: Sequence[Any]) -> list[str]:
    model: Any = Params
    for part in location:
        fields = getattr(model, "model_fields", {})
        found = [f.annotation for n, f in fields.items() if (f.alias or n) == part]
        model = found[0] if found else None
    return [f.alias or n for n, f in getattr(model, "model_fields", {}).items()]


def _describe(error: Any) -> tuple[tuple[Any, ...], str]:
    """(location, sentence) of one pydantic error."""
    location = tuple(p for p in error["loc"] if not (isinstance(p, str) and re.search(r"[\[\(]", p)))
    key = ".".join(str(part) for part in location)
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)
        return location, f"unknown key {key}" + (f", did you mean {close[0]}?" if close else "")
    if error["type"] == "missing":
        return location, f"{key} is missing"
    if error["type"] == "value_error":
        sentence = str(context["error"])
        return location, f"{key} {sentence}" if sentence.startswith("must") else f"{key}.{sentence}"
    return location, f"{key} {_rule(error['type'], context, error['msg'])}, got {error['input']!r}"


def load_params(
    file: Path | str = "params.yaml", profiles: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Params:
    """Read `file`, overlay each profile, then each `key.path=value`; later layers win.

    Args:
        profiles: names of `profiles/NAME.yaml` beside the file.
        overrides: `key.path=value`, the value written as YAML.

    Raises:
        InputError: a file that is missing or no YAML, an unknown key, a wrong type, a value out of range.
    """
    file = Path(file)
    layers = [(str(file), _read_layer(file, str(file)))]
    for name in profiles:
        folder = file.parent / "profiles"
        overlay = folder / f"{name}.yaml"
        if not re.fullmatch(r"[\w.-]+", name) or not overlay.is_file():
            known = sorted(p.stem for p in folder.glob("*.yaml"))
            raise InputError(f"--profile must be one of {', '.join(known) or '(none found)'}, got {name!r}")
        layers.append((str(overlay), _read_layer(overlay, str(overlay))))
    layers += [(f"--set {text}", _override_layer(text)) for text in overrides]
    return _checked(layers, file.resolve().parent)


def params_from_dict(values: Mapping[str, Any], folder: Path | str) -> Params:
    """Params from plain values (`Params.as_dict`), relative names starting at `folder`."""
    if not isinstance(values, dict):
        raise InputError(f"params: must be a table of sections, got {type(values).__name__}")
    return _checked([("params", values)], Path(folder).resolve())


def ablated(params: Params, name: str) -> Params:
    """The parameters of an ablation: what `ablations.<name>` changes, and its own folder for checkpoints.

    Raises:
        InputError: there is no such ablation, a wrong key or value, or a key that training does not read.
    """
    if name not in params.ablations:
        known = ", ".join(params.ablations) or "none"
        raise InputError(f"--ablation must be one of those in params.yaml ({known}), got {name!r}")
    own = {"paths": {"checkpoints": f"{params.paths.checkpoints}/{name}"}}
    layers = [("params", params.as_dict()), ("params", own)]
    for key, value in params.ablations[name].items():
        if key.split(".")[0] not in TRAINING:
            allowed = ", ".join(TRAINING)
            raise InputError(
                f"ablations.{name}: may change {allowed}, so that the data are the same, got {key}"
            )
        layers.append((f"ablations.{name}", _nested(key, value)))
    return _validated(layers, params.folder)


def _checked(layers: Sequence[tuple[str, dict[str, Any]]], folder: Path) -> Params:
    """Validated, with what a section says of another."""
    params = _validated(layers, folder)
    for name in params.ablations:
        if name in (*COMPARED, "stage2"):
            raise InputError(f"ablations must not have the name of another model, got {name!r}")
        ablated(params, name)
    for name in params.evaluate.compare:
        if name not in (*COMPARED, *params.ablations):
            known = ", ".join([*COMPARED, *params.ablations])
            raise InputError(f"evaluate.compare must name some of {known}, got {name!r}")
    for name, section in (("synthesize", params.synthesize), ("ingest", params.ingest)):
        least = section.filters.min_aesthetic
        if least is not None and params.networks.aesthetic is None:
            raise InputError(
                f"{name}.filters.min_aesthetic must be null when networks.aesthetic is null, got {least:g}"
            )
    return params


def _to_blame(layers: Sequence[tuple[str, dict[str, Any]]], location: Sequence[Any], *, missing: bool) -> str:
    """Layer with the wrong value: the last that has it; of a missing one, the first that has its table."""
    if missing:
        found = [name for name, layer in layers if location[1:] and _has_table(layer, location[:-1])]
    else:
        found = [name for name, layer in reversed(layers) if _contains(layer, location)]
    return found[0] if found else layers[0][0]


def _has_table(layer: Any, location: Sequence[Any]) -> bool:
    for part in location:
        layer = layer.get(part) if isinstance(layer, Mapping) else None
    return isinstance(layer, Mapping)


def _validated(layers: Sequence[tuple[str, dict[str, Any]]], folder: Path) -> Params:
    merged: Any = {}
    for _, layer in layers:
        merged = _merge(merged, layer)
    try:
        params = Params.model_validate(merged)
    except ValidationError as failure:
        sentences = []
        for error in failure.errors():
            location, sentence = _describe(error)
            where = _to_blame(layers, location, missing=error["type"] == "missing")
            line = f"{where}: {sentence}"
            if line not in sentences:
                sentences.append(line)
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        raise InputError(sentences[0].replace("\n", " ") + more) from None
    params._folder = folder
    return params
