"""`sugar <verb>`: the command line of the project.

Exit code 0: done. 2: bad usage or bad input, one line on stderr says what. 1: a failure while working. 75: a
training was asked to stop and saved, the same command continues it.
Nothing heavy is imported before a verb works, so that `--help` and errors are immediate.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from sugar.arguments import PROG, build_parser
from sugar.config import InputError, Params, load_params
from sugar.training.signals import EXIT_START_AGAIN, Preempted

NOISY = "httpx httpcore alembic mlflow urllib3 great_expectations numexpr matplotlib".split()
"""Libraries whose log says nothing to who types a verb."""


def _params(args: argparse.Namespace) -> Params:
    params = load_params(args.params, args.profile, args.overrides)
    networks = [value for value in params.section("networks").values() if isinstance(value, str)]
    if all(params.given(value).is_dir() for value in networks if value != params.networks.device):
        # Bars for what takes no time are noise; where something may be downloaded they stay.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return params


def _run_stage(args: argparse.Namespace) -> None:
    if getattr(args, "recalibrate", False):
        _run_recalibrate(args)
        return
    for name in ("precision", "labels", "write"):
        if getattr(args, name, None) is not None:
            raise InputError(f"--{name} must come with --recalibrate, got it alone: {getattr(args, name)}")
    params = _params(args)
    from sugar.stages import run_ablation_stage, run_stage

    start = time.monotonic()
    if getattr(args, "ablation", None) is None:
        metrics = run_stage(args.verb, params, getattr(args, "check", False))
    else:
        metrics = run_ablation_stage(args.verb, params, args.ablation)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    print(f"{args.verb}: done in {time.monotonic() - start:.1f} s: {figures}", flush=True)


def _run_recalibrate(args: argparse.Namespace) -> None:
    params = _params(args)
    from sugar.stages.recalibrating import PRECISION, recalibrate

    precision = PRECISION if args.precision is None else args.precision
    print(recalibrate(params, args.verb, precision=precision, labels=args.labels, out=args.write))


def _run_foundation(args: argparse.Namespace) -> None:
    params = _params(args)
    from sugar.foundation.run import run_foundation

    only = None if args.only is None else [name.strip() for name in args.only.split(",")]
    run_foundation(params, only, args.out)


def _run_generate(args: argparse.Namespace) -> None:
    params = _params(args)
    from sugar.generation import generate_file

    generate_file(
        params,
        model=args.model,
        image=args.image,
        noun=args.noun,
        prompt=args.prompt,
        out=args.out,
        identity=args.identity,
        box=args.box,
        lora=args.lora,
        image_scale=args.image_guidance,
        text_scale=args.text_guidance,
        negative_prompt=args.negative_prompt,
        num_steps=args.steps,
        drop_dino_until=args.drop_dino_until,
        seed=args.seed,
    )
    print(args.out)


def _run_submit(args: argparse.Namespace) -> int:
    """Hand over to `pipelines.submit` in a process of its own: kfp is not imported below `components`."""
    command = [
        sys.executable,
        "-m",
        "pipelines.submit",
        "--params",
        args.params,
        "--experiment",
        args.experiment,
    ]
    command += [word for name in args.profile for word in ("--profile", name)]
    command += [f"--set={override}" for override in args.overrides]
    command += ["--host", args.host] if args.host else []
    command += ["--local"] * args.local + ["--dry-run"] * args.dry_run
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*command, "--", str(args.pipeline), *args.arguments],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    return done.returncode


def _run_results(args: argparse.Namespace) -> None:
    params = _params(args)
    from sugar.results import results_text

    print(results_text(params, args.ablation))


def _run_plan(args: argparse.Namespace) -> None:
    params = _params(args)
    from sugar.planning.plan import plan_text
    from sugar.stages.planning import plan

    planned = plan(
        params,
        gpu=args.gpu,
        num_gpus=args.gpus,
        gpu_memory_gib=args.gpu_memory_gib,
        utilisation=args.utilisation,
        num_triplets=args.triplets,
        acceptance=args.acceptance,
    )
    print(json.dumps(planned, indent=1) if args.json else plan_text(planned))


def _run_studio(args: argparse.Namespace) -> None:
    params = _params(args)
    from sugar.studio import open_studio

    with open_studio(params, args.model or params.path("stage2"), args.host, args.port) as server:
        print(f"studio: http://{args.host}:{server.server_port} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("studio: ended")


def _run(args: argparse.Namespace) -> int | None:
    others = {
        "foundation": _run_foundation,
        "generate": _run_generate,
        "submit": _run_submit,
        "results": _run_results,
        "plan": _run_plan,
        "studio": _run_studio,
    }
    return others.get(args.verb, _run_stage)(args)


def _says_all(error: Exception) -> bool:
    """Whether the message alone will do: a gate that fails, a tracking store that is away, a full disk."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or getattr(error, "expected", False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 2 bad input, 1 failure, 75 again, 130 interrupted."""
    # Arrow's own allocator keeps what a large column took; read when pyarrow is first imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if args.verb == "submit":  # argparse does not take positionals after options of a verb
        args.arguments += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    logging.basicConfig(
        level=os.environ.get("SUGAR_LOG", "INFO").upper(),
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return _run(args) or 0
    except InputError as error:
        print(f"{PROG} {args.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Preempted as stop:
        print(f"{PROG} {args.verb}: {stop}", file=sys.stderr)
        return EXIT_START_AGAIN
    except KeyboardInterrupt:
        print(f"{PROG} {args.verb}: interrupted; what is complete is kept", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 (the last line of defence: told, with exit code 1)
        if not _says_all(error):
            traceback.print_exc()
        print(f"{PROG} {args.verb}: failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
