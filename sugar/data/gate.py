"""The gate: Great Expectations over a manifest, with Data Docs, before anything is trained on the dataset.

Row filtering is done elsewhere, on whole columns; here a dataset is accepted or refused as a whole. Tables
that are looked at: all rows, the accepted rows, the shares of each noun, style, background and motion (of
texture and colour too, where prompts have them) among the accepted, and, where there is an earlier version,
the drift from it.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.compute as pc

from sugar.data.drift import drift
from sugar.data.manifest import (
    COLUMNS,
    EXTRA_TAGS,
    ORIGIN,
    SCORE_PREFIX,
    accepted_rows,
    extra_tags,
    manifest_columns,
    read_manifest,
    release_memory,
)
from sugar.data.printable import printable
from sugar.triplet import MAX_PROMPT_LENGTH

if TYPE_CHECKING:
    import pandas as pd

SCORE_RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "image_text": (-1.0, 1.0),
    "identity": (-1.0, 1.0),
    "consecutive": (-1.0, 1.0),
    "random_pair": (-1.0, 1.0),
    "flow_px": (0.0, None),
    "sharpness": (0.0, None),
    "exposure": (0.0, 1.0),
}
"""What each score can be (cosines, pixels); a score without a row here may be any finite number."""

_KEY = "sugar_key"
_EXAMPLES, _EXAMPLE_LENGTH = 5, 80
_SIZES = ("num_frames", "height_px", "width_px")
_FEW_VALUES = ("shard", "source", "noun", "category", "style", "background", "motion", *EXTRA_TAGS, *ORIGIN)


@dataclass(frozen=True)
class GateBounds:
    """What a dataset must meet.

    Attributes:
        source: the only source its rows may have: "real" or "synthetic".
        min_rows: accepted rows, at least.
        min_acceptance: accepted rows / all rows, at least; in [0, 1].
        max_noun_share, max_style_share, max_background_share, max_motion_share, max_texture_share,
            max_colour_share: accepted rows with any one noun, style, ... / accepted rows, at most.
        max_drift: of every number of `drift.drift` against an earlier version, at most.
    """

    source: str
    min_rows: int = 1
    min_acceptance: float = 0.0
    max_noun_share: float = 1.0
    max_style_share: float = 1.0
    max_background_share: float = 1.0
    max_motion_share: float = 1.0
    max_texture_share: float = 1.0
    max_colour_share: float = 1.0
    max_drift: float = 1.0

    def share_of(self, tag: str) -> float:
        """The bound of the share of any one value of a tag."""
        return getattr(self, f"max_{tag}_share")


def balanced_tags(table: pa.Table) -> list[str]:
    """Tags of a manifest whose shares among the accepted rows are bounded."""
    return ["noun", "style", "background", "motion", *extra_tags(table)]


@dataclass(frozen=True)
class GateResult:
    """The verdict: each failed expectation in one line with examples, and what was measured."""

    success: bool
    failures: tuple[str, ...]
    statistics: Mapping[str, float]


def run_gate(
    manifest_folder: Path | str,
    bounds: GateBounds,
    html_folder: Path | str,
    previous: pa.Table | None = None,
) -> GateResult:
    """Check the manifest in `manifest_folder` and write Data Docs to `html_folder` (`index.html`).

    What was in `html_folder` before is replaced.

    Args:
        previous: manifest of an earlier version, for the drift; None: drift is not looked at.

    Raises:
        InputError: the manifest is missing, damaged, or of another schema version.
    """
    table = _read(manifest_folder)
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # This module sets its own level, and tells of a temporary folder that nobody needs to know.
    logging.getLogger(ProgressBarsConfig.__module__).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    small, failures = _small_frames(table, previous), []
    for name, expectations in _suites(gxe, bounds, table, previous).items():
        # One large frame at a time: each is as large as the manifest.
        frame = _LARGE[name](table) if name in _LARGE else small[name]
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        failures += _failures(context, suite, f"{bounds.source} triplets", frame)
        del frame
        if name in _LARGE:
            gc.collect()
            release_memory()
    site = Path(unquote(urlparse(next(iter(context.build_data_docs().values()))).path)).parent
    shutil.rmtree(html_folder, ignore_errors=True)
    Path(html_folder).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(site, html_folder)
    return GateResult(not failures, tuple(failures), _statistics(table, small))


def _failures(context: Any, suite: Any, source_name: str, frame: pd.DataFrame) -> list[str]:
    """Check a frame, for the Data Docs too; one line each for what failed. Nothing of the frame is kept."""
    import great_expectations as gx

    name = suite.name
    source = context.data_sources.add_pandas(source_name)
    batch = source.add_dataframe_asset(name=name).add_batch_definition_whole_dataframe(name)
    checked = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    result = context.validation_definitions.add(checked).run(
        batch_parameters={"dataframe": frame},
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": _EXAMPLES,
            "unexpected_index_column_names": [frame.columns[0]],
        },
    )
    # Beside the frame the source keeps, in cycles, all that was made of it.
    context.data_sources.delete(source_name)
    return [f"{name}: {_failure(one)}" for one in result.results if not one.success]


def _read(manifest_folder: Path | str) -> pa.Table:
    """The manifest without what nothing is asked of; of columns with few values the numbers of these.

    The checks copy their frame again and again, so its size counts.
    """
    names = manifest_columns(manifest_folder)
    few = read_manifest(manifest_folder, _FEW_VALUES)
    found = {name: few[name].dictionary_encode() for name in few.column_names}
    del few
    rest = read_manifest(manifest_folder, {*names} - {*_FEW_VALUES, "provenance"})
    found |= {name: rest[name] for name in rest.column_names}
    return pa.table({name: found[name] for name in names if name in found})


def _rows_frame(table: pa.Table) -> pd.DataFrame:
    """Every row; the first column names it in examples."""
    num_reasons = pc.call_function("list_value_length", [table["reasons"]])
    has_reason = pc.call_function("greater", [num_reasons, 0])
    explained = pc.call_function("xor", [table["accepted"], has_reason])
    rows = table.drop_columns(["reasons"]).append_column("verdict_explained", explained)
    frame = rows.to_pandas()
    frame["accepted"] = frame["accepted"].astype(float)
    return frame


def _accepted_frame(table: pa.Table) -> pd.DataFrame:
    """The accepted rows, with what is asked of them."""
    names = ["key", "digest", *_SIZES, *(n for n in table.column_names if n.startswith(SCORE_PREFIX))]
    return table.select(names).filter(table["accepted"]).to_pandas()


_LARGE: Mapping[str, Callable[[pa.Table], pd.DataFrame]] = {
    "rows": _rows_frame,
    "accepted rows": _accepted_frame,
}


def _small_frames(table: pa.Table, previous: pa.Table | None) -> dict[str, pd.DataFrame]:
    frames = {
        f"{tag}s": _share_table(accepted_rows(table.select(["accepted", tag])), tag)
        for tag in balanced_tags(table)
    }
    if previous is not None:
        import pandas as pd

        found = drift(table, previous)
        frames["drift"] = pd.DataFrame({"of": list(found), "drift": list(found.values())})
    return frames


def _share_table(table: pa.Table, column: str) -> pd.DataFrame:
    import pandas as pd

    shares = table[column].cast(pa.string()).to_pandas().value_counts(normalize=True, dropna=False)
    return pd.DataFrame({column: shares.index.astype(str), "share": shares.to_numpy(float)})


def _suites(
    gxe: ModuleType, bounds: GateBounds, table: pa.Table, previous: pa.Table | None
) -> dict[str, list[Any]]:
    """The expectations, by the table they are about; those of `bounds` name their configuration key."""

    def key(name: str) -> dict[str, str]:
        return {_KEY: f"validate.{name}"}

    scores = [name for name in table.column_names if name.startswith(SCORE_PREFIX)]
    rows = [
        gxe.ExpectTableColumnsToMatchSet(
            column_set=[name for name in COLUMNS if name not in ("reasons", "provenance")], exact_match=False
        ),
        *(gxe.ExpectColumnValuesToNotBeNull(column=n) for n in COLUMNS if n not in ("reasons", "provenance")),
        gxe.ExpectColumnValuesToBeUnique(column="key"),
        gxe.ExpectColumnValuesToBeInSet(column="source", value_set=[bounds.source]),
        *(
            gxe.ExpectColumnValueLengthsToBeBetween(column=n, min_value=1)
            for n in ("shard", "noun", "category")
        ),
        gxe.ExpectColumnValueLengthsToBeBetween(column="prompt", min_value=1, max_value=MAX_PROMPT_LENGTH),
        gxe.ExpectColumnValueLengthsToEqual(column="digest", value=64),
        gxe.ExpectColumnValuesToBeBetween(column="fps", min_value=0, strict_min=True, max_value=1000),
        *(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=1) for name in _SIZES),
        *(
            gxe.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high)
            for name in scores
            for low, high in [SCORE_RANGES.get(name.removeprefix(SCORE_PREFIX), (None, None))]
            if low is not None
        ),
        gxe.ExpectColumnValuesToBeInSet(column="verdict_explained", value_set=[True]),
        gxe.ExpectColumnMeanToBeBetween(
            column="accepted", min_value=bounds.min_acceptance, meta=key(f"min_acceptance.{bounds.source}")
        ),
    ]
    accepted = [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=bounds.min_rows, meta=key(f"min_rows.{bounds.source}")
        ),
        gxe.ExpectColumnValuesToBeUnique(column="digest"),
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in scores),
        *(gxe.ExpectColumnUniqueValueCountToBeBetween(column=name, max_value=1) for name in _SIZES),
    ]
    suites = {"rows": rows, "accepted rows": accepted}
    for tag in balanced_tags(table):
        suites[f"{tag}s"] = [
            gxe.ExpectColumnValuesToBeBetween(
                column="share", max_value=bounds.share_of(tag), meta=key(f"max_{tag}_share")
            )
        ]
    if previous is not None:
        suites["drift"] = [
            gxe.ExpectColumnValuesToBeBetween(
                column="drift", max_value=bounds.max_drift, meta=key("max_drift")
            )
        ]
    return suites


def _failure(result: Any) -> str:
    """A failed expectation in one line: what was expected, by which key, what was found, examples."""
    config = result.expectation_config
    key = (config.meta or {}).get(_KEY)
    terms = [f"{key}={value}" for key, value in config.kwargs.items() if key not in ("batch_id", "column")]
    column = [config.kwargs["column"]] if "column" in config.kwargs else []
    expected = f"{config.type}({', '.join(column + terms)}){f' by {key}' if key else ''}"
    found = dict(result.result or {})
    if "unexpected_count" in found:
        examples = found.get("partial_unexpected_index_list") or found.get("partial_unexpected_list") or []
        some = "; ".join(_example(one) for one in examples[:_EXAMPLES])
        return f"{expected}: {found['unexpected_count']} of {found['element_count']} break it, e.g. {some}"
    if "observed_value" in found:
        return f"{expected}: got {found['observed_value']}"
    raised = [info for info in (result.exception_info or {}).values() if isinstance(info, dict)]
    return f"{expected}: {raised[0]['exception_message'] if raised else 'could not be checked'}"


def _example(value: Any) -> str:
    """A row in short: what names it first, then what is wrong with it."""
    if not isinstance(value, Mapping):
        return printable(str(value), _EXAMPLE_LENGTH)
    *found, name = value.items()
    return ", ".join(
        printable(f"{key} {item:.4g}" if isinstance(item, float) else f"{key} {item}", _EXAMPLE_LENGTH)
        for key, item in (name, *found)
    )


def _statistics(table: pa.Table, small: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    num_rows, num_accepted = table.num_rows, accepted_rows(table.select(["accepted"])).num_rows
    found = {"rows": num_rows, "accepted": num_accepted, "acceptance": num_accepted / max(num_rows, 1)}
    for tag in balanced_tags(table):
        shares = small[f"{tag}s"]["share"]
        found |= {f"num_{tag}s": len(shares), f"max_{tag}_share": shares.max() if len(shares) else 0.0}
    if "drift" in small:
        found |= {f"drift_{of}": value for of, value in small["drift"].itertuples(index=False)}
    return {name: float(value) for name, value in found.items()}
