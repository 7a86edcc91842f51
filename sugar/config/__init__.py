"""Typed, strict, frozen mirror of params.yaml.

`load_params` reads the file, lays profiles and `--set` overrides over it, and checks everything: an unknown
key, a wrong type or a value out of range is an `InputError` of one line that names the file, the key path,
the rule and the value.
"""

from sugar.config.load import ablated, load_params, params_from_dict
from sugar.config.params import Params
from sugar.config.schema import COMPARED, Filters, InputError, Section

__all__ = [
    "COMPARED",
    "Filters",
    "InputError",
    "Params",
    "Section",
    "ablated",
    "load_params",
    "params_from_dict",
]
