"""Run a pipeline file: on this machine, on Kubeflow Pipelines, or not at all (compile and check).

`sugar submit` and `bin/kfp run submit FILE.py` are fronts of this module.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sugar.config import InputError, Params, load_params

PARAMETERS = ("config", "profile", "overrides")
"""Pipeline arguments that carry the parameters."""


def load_pipeline(file: Path) -> Any:
    """The one pipeline function of a Python file.

    Raises:
        InputError: no such file, not Python, or not exactly one pipeline in it.
    """
    from kfp.cli.compile_ import collect_pipeline_or_component_func

    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"{file}: must be an existing Python file with a @dsl.pipeline function")
    try:
        return collect_pipeline_or_component_func(str(file.resolve()), None)
    except (ValueError, SyntaxError, ImportError) as error:
        raise InputError(f"{file}: {error}") from error


def _parse(name: str, text: str, kind: str) -> Any:
    if kind == "STRING":
        return text
    try:
        value = json.loads(text.lower() if kind == "BOOLEAN" else text)
    except json.JSONDecodeError as error:
        raise InputError(f"argument {name} must be a {kind}, got {text!r}") from error
    expected = {
        "NUMBER_INTEGER": int,
        "NUMBER_DOUBLE": (int, float),
        "BOOLEAN": bool,
        "LIST": list,
        "STRUCT": dict,
    }[kind]
    if not isinstance(value, expected) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise InputError(f"argument {name} must be a {kind}, got {text!r}")
    return value


def split_arguments(pipeline: Any, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """(arguments of the pipeline, `key.path=value` overrides) of `key=value` texts.

    Raises:
        InputError: no equals sign, an unknown key, or a value of another type.
    """
    inputs = pipeline.pipeline_spec.root.input_definitions.parameters
    given: dict[str, Any] = {}
    overrides = []
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise InputError(f"arguments must look like key=value, got {argument!r}")
        if name in inputs:
            descriptor = inputs[name].DESCRIPTOR.fields_by_name["parameter_type"].enum_type
            kind = descriptor.values_by_number[inputs[name].parameter_type].name
            given[name] = _parse(name, text, kind)
        elif "." in name and "config" in inputs:
            overrides.append(argument)
        else:
            raise InputError(f"unknown argument {name}; {pipeline.name} has {', '.join(sorted(inputs))}")
    return given, overrides


def code_version(folder: Path) -> str:
    """Git revision of the checkout, with a digest of what is edited; the package's version without git."""
    from sugar import __version__
    from sugar.data.origin import git_revision

    return git_revision(folder) or __version__


def resolve(
    pipeline: Any,
    arguments: Sequence[str],
    *,
    params_file: Path,
    profiles: Sequence[str],
    overrides: Sequence[str],
) -> tuple[dict[str, Any], Params]:
    """(all arguments of the pipeline, the parameters they carry).

    Raises:
        InputError: wrong arguments or parameters.
    """
    inputs = pipeline.pipeline_spec.root.input_definitions.parameters
    given, dotted = split_arguments(pipeline, arguments)
    changes = [*overrides, *dotted]
    carried = [name for name in PARAMETERS if given.get(name)]
    if carried and (changes or profiles):
        raise InputError(
            f"give the parameters by {carried[0]}=... or by --profile, --set and dotted keys, not both"
        )
    if carried:
        from sugar.stages.component import resolved_params

        params = resolved_params(*(given.get(name, "") for name in PARAMETERS), file=params_file)
    else:
        params = load_params(params_file, profiles, changes)
        if "config" in inputs:
            given["config"] = json.dumps(params.as_dict(), sort_keys=True)
    if "code_version" in inputs:
        given.setdefault("code_version", code_version(params.folder))
    return given, params


def refuse_cluster_drivers(pipeline: Any, params: Params) -> None:
    """Raise InputError where a stage of a pipeline on a cluster would have its shards made by other pods.

    Its task writes to an artifact folder of Kubeflow's, which they do not have.
    """
    if (
        "config" in pipeline.pipeline_spec.root.input_definitions.parameters
        and params.shards.driver != "pool"
    ):
        raise InputError(
            f"shards.driver must be pool in a pipeline, whose tasks write to folders that no other pod has, "
            f"got {params.shards.driver}; `sugar ingest` and `synthesize` take it, in a pod with the volume"
        )


def run_locally(pipeline: Any, arguments: Mapping[str, Any], params: Params, params_file: Path) -> None:
    """Run every task in a process of this machine, artifacts below `paths.root`/kfp.

    Raises:
        RuntimeError: a task failed.
    """
    from kfp import local

    os.environ["SUGAR_PARAMS"] = str(params_file.resolve())
    root = params.root / "kfp"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace:
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root),
            workspace_root=workspace,
            raise_on_error=True,
        )
        pipeline(**arguments)
    print(f"{pipeline.name}: done; artifacts are below {root}")


def compile_pipeline(pipeline: Any, file: Path) -> Path:
    """Write the pipeline's YAML."""
    from kfp import compiler

    compiler.Compiler().compile(pipeline, str(file))
    return file


def submit(pipeline: Any, arguments: Mapping[str, Any], host: str | None, experiment: str) -> None:
    """Start a run on Kubeflow Pipelines and print where it is."""
    from kfp import Client

    with tempfile.TemporaryDirectory() as folder:
        package = compile_pipeline(pipeline, Path(folder) / "pipeline.yaml")
        run = Client(host=host).create_run_from_pipeline_package(
            str(package), arguments=dict(arguments), experiment_name=experiment
        )
    print(f"{pipeline.name}: run {run.run_id}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipelines.submit", description=__doc__, allow_abbrev=False)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--host")
    parser.add_argument("--experiment", default="sugar")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: done; 2: wrong file or arguments; 1: a task failed or the server refused."""
    args = _parser().parse_intermixed_args(argv)
    try:
        pipeline = load_pipeline(args.pipeline)
        carried = any(a.partition("=")[0] in PARAMETERS for a in args.arguments)
        profiles = args.profile or (["smoke"] if args.local and not carried else [])
        arguments, params = resolve(
            pipeline, args.arguments, params_file=args.params, profiles=profiles, overrides=args.overrides
        )
        if not args.local:
            refuse_cluster_drivers(pipeline, params)
        if args.local:
            run_locally(pipeline, arguments, params, args.params)
        elif args.dry_run:
            with tempfile.TemporaryDirectory() as folder:
                compile_pipeline(pipeline, Path(folder) / "pipeline.yaml")
            print(f"{pipeline.name}: compiles; not submitted; arguments:")
            print("\n".join(f"  {name}={value}" for name, value in sorted(arguments.items())))
        else:
            submit(pipeline, arguments, args.host, args.experiment)
    except InputError as error:
        print(f"sugar submit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 (the last line of defence: told, with exit code 1)
        print(
            f"sugar submit: failed: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
