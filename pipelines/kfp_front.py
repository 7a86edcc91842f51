"""`bin/kfp`: the kfp command, which also takes a Python file where it wants a compiled package.

`kfp run submit FILE.py key=value ...` becomes `kfp run submit -e sugar -f FILE.yaml key=value ...`; with
`--local` or `--dry-run` it does what `sugar submit` does. Every other command line goes to kfp unchanged.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipelines import submit
from sugar.config import InputError

RUN_VERBS = (("run", "submit"), ("run", "create"))


def translate(argv: Sequence[str], folder: Path) -> list[str]:
    """The command line for kfp; a pipeline file among the words of `run submit` is compiled into `folder`.

    Raises:
        InputError: the file or the arguments are wrong.
    """
    argv = list(argv)
    run = next(
        (i for i, w in enumerate(argv[:-1]) if w == "run" and argv[i + 1] in ("submit", "create")), None
    )
    files = [] if run is None else [i for i in range(run + 2, len(argv)) if argv[i].endswith(".py")]
    if run is None or not files:
        return argv
    file = Path(argv.pop(files[0]))
    pipeline = submit.load_pipeline(file)
    pairs = [word for word in argv[run + 2 :] if "=" in word and not word.startswith("-")]
    options = [word for word in argv[run + 2 :] if word not in pairs]
    arguments, params = submit.resolve(
        pipeline, pairs, params_file=Path("params.yaml"), profiles=[], overrides=[]
    )
    submit.refuse_cluster_drivers(pipeline, params)
    package = submit.compile_pipeline(pipeline, folder / f"{file.stem}.yaml")
    if not {"-e", "--experiment-name"} & {word.partition("=")[0] for word in options}:
        options = ["-e", "sugar", *options]
    words = [f"{name}={value}" for name, value in sorted(arguments.items())]
    return [*argv[: run + 2], *options, "-f", str(package), *words]


def main() -> None:
    """Run the command line of this process."""
    argv = sys.argv[1:]
    if tuple(argv[:2]) in RUN_VERBS and {"--local", "--dry-run"} & set(argv):
        sys.exit(submit.main(argv[2:]))
    with tempfile.TemporaryDirectory() as folder:
        try:
            sys.argv[1:] = translate(argv, Path(folder))
        except InputError as error:
            print(f"kfp: {error}", file=sys.stderr)
            sys.exit(2)
        from kfp.cli.__main__ import main as kfp

        kfp()


if __name__ == "__main__":
    main()
