"""The verdict over both datasets: written, shown as a page, and asked for before anything is encoded."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sugar.config import InputError
from sugar.data.atomic import write_bytes_atomic, write_json_atomic
from sugar.data.code_digest import code_digest
from sugar.data.drift import previous_manifest
from sugar.data.gate import GateBounds, GateResult, run_gate
from sugar.data.manifest import dataset_digest

VERDICT = "verdict.json"


def check_datasets(
    datasets: Mapping[str, Path],
    bounds: Mapping[str, GateBounds],
    output: Path,
    baseline: str | None = None,
    on_work: Callable[[], object] = lambda: None,
) -> dict[str, GateResult]:
    """Run the gate over each dataset; writes Data Docs, `index.html` and, last, the verdict.

    Args:
        datasets, bounds: name ("real", "synthetic") -> folder, what it must meet.
        output: folder; `NAME/index.html` are the Data Docs.
        baseline: git revision whose version (DVC) the drift is measured from; None: it is not looked at.
        on_work: called unless all datasets are known to pass: a failure is told each time.

    Datasets that the verdict in `output` is about are not looked at again, unless there is a baseline.
    """
    if baseline is None and (known := _known(datasets, bounds, output)) is not None:
        if not all(result.success for result in known.values()):
            on_work()
        return known
    on_work()
    (output / VERDICT).unlink(missing_ok=True)
    before = {
        name: previous_manifest(folder, baseline) if baseline else None for name, folder in datasets.items()
    }
    results = {
        name: run_gate(folder, bounds[name], output / name, before[name]) for name, folder in datasets.items()
    }
    write_bytes_atomic(output / "index.html", _page(results).encode())
    verdict = {
        name: {
            "success": result.success,
            "failures": list(result.failures),
            "statistics": dict(result.statistics),
            "digest": dataset_digest(datasets[name]),
            "bounds": _about(bounds[name]),
        }
        for name, result in results.items()
    }
    write_json_atomic(output / VERDICT, verdict)
    return results


def _about(bounds: GateBounds) -> str:
    """Text that changes when what is asked of a dataset does."""
    return f"{bounds} {code_digest(('sugar.data.gate', 'sugar.data.drift'))}"


def _known(
    datasets: Mapping[str, Path], bounds: Mapping[str, GateBounds], output: Path
) -> dict[str, GateResult] | None:
    """The results in the verdict of `output`, if it is about these datasets and bounds, without drift."""
    try:
        verdict = read_verdict(output)
    except InputError:
        return None
    if verdict.keys() != datasets.keys():
        return None
    for name, folder in datasets.items():
        about = verdict[name]
        drifted = any(key.startswith("drift_") for key in about["statistics"])
        if about.get("bounds") != _about(bounds[name]) or drifted:
            return None
        if about["digest"] != dataset_digest(folder) or not (output / name / "index.html").is_file():
            return None
    return {
        name: GateResult(about["success"], tuple(about["failures"]), about["statistics"])
        for name, about in verdict.items()
    }


def read_verdict(gate: Path) -> dict[str, dict]:
    """What `check_datasets` found: name -> success, failures, statistics, digest.

    Raises:
        InputError: there is no verdict, or a damaged one.
    """
    file = gate / VERDICT
    if not file.is_file():
        raise InputError(f"{file}: no such file; run validate first")
    try:
        verdict = json.loads(file.read_bytes())
        if verdict and all(map(_is_result, verdict.values())):
            return verdict
    except (ValueError, AttributeError):
        pass
    raise InputError(f"{file}: not a verdict of the gate (damaged?); run validate again")


_FIELDS = {"success": bool, "failures": list, "statistics": dict, "digest": str}


def _is_result(about: Mapping[str, Any]) -> bool:
    """Has it the fields, with texts and numbers in them, and failures exactly where it is no success?"""
    types = {name: type(value) for name, value in about.items()}
    return (
        types.items() >= _FIELDS.items()
        and about["success"] != bool(about["failures"])
        and all(isinstance(failure, str) for failure in about["failures"])
        and all(isinstance(value, int | float) for value in about["statistics"].values())
    )


def require_passed(gate: Path, datasets: Mapping[str, Path]) -> None:
    """Raise InputError unless the gate has passed each dataset as it is now."""
    verdict = read_verdict(gate)
    for name, folder in datasets.items():
        if name not in verdict:
            raise InputError(f"{gate / VERDICT}: is not about {name} ({folder}); run validate again")
        if not verdict[name]["success"]:
            failures = verdict[name]["failures"]
            raise InputError(f"{folder} did not pass the gate ({len(failures)} failures): {failures[0]}")
        if verdict[name]["digest"] != dataset_digest(folder):
            raise InputError(f"{folder} has changed since it passed the gate; run validate again")


def page_alone(gate: Path) -> str:
    """The page of the verdict in a folder, for where it is shown without the Data Docs beside it.

    Raises:
        InputError: there is no verdict, or a damaged one.
    """
    results = {
        name: GateResult(about["success"], tuple(about["failures"]), about["statistics"])
        for name, about in read_verdict(gate).items()
    }
    return _page(results, with_docs=False)


_STYLE = """body { font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1d2430;
       max-width: 860px; margin: 32px auto; padding: 0 24px; }
h2 { margin: 28px 0 6px; } b { border-radius: 999px; padding: 2px 12px; color: #fff; font-size: 13px; }
.passed { background: #1f8f5f; } .failed { background: #c2473d; } a { color: #3866d6; }
table { border-collapse: collapse; } td { border-bottom: 1px solid #e3e7ee; padding: 3px 24px 3px 0; }"""


def _page(results: Mapping[str, GateResult], with_docs: bool = True) -> str:
    parts = ["<!doctype html><html lang='en'><meta charset='utf-8'><title>Data gate</title>"]
    parts += [f"<style>{_STYLE}</style>", "<h1>Data gate</h1>"]
    for name, result in results.items():
        kind = "passed" if result.success else "failed"
        verdict = kind if result.success else f"{len(result.failures)} failures"
        parts.append(f"<h2>{name} <b class='{kind}'>{verdict}</b></h2><ul>")
        parts += [f"<li>{html.escape(failure)}</li>" for failure in result.failures]
        facts = "".join(
            f"<tr><td>{key.replace('_', ' ')}</td><td>{value:.4g}</td></tr>"
            for key, value in result.statistics.items()
        )
        docs = f"<a href='{name}/index.html'>every expectation: Data Docs</a>"
        if not with_docs:
            docs = f"every expectation: Data Docs, in the artifact <code>gate</code>, {name}/index.html"
        parts.append(f"</ul><table>{facts}</table><p>{docs}</p>")
    return "\n".join(parts)
