"""What can be typed after `sugar`: verbs, options, their help and examples. Nothing heavy is imported."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

PROG = "sugar"
MOST, LEAST_SHARE = 10**15, 1e-6
"""Beyond these, hours are no numbers to plan with."""
STAGE_HELP = {
    "source": "gather labelled pictures of subjects",
    "synthesize": "make customised image-video-text triplets from the subjects",
    "ingest": "cut real clips into triplets",
    "validate": "check both manifests; a failing gate stops the run",
    "encode": "write the latent caches: VAE, text, DINO and CLIP, once per clip",
    "pretrain": "train stage 1 on real video",
    "finetune": "train stage 2 on real and synthetic video, half of the layers frozen",
    "evaluate": "generate the benchmark, score it, write the report",
    "register": "register the model with its scores",
}
ABLATION_HELP = {
    "pretrain": "train that ablation of params.yaml, below paths.ablations",
    "finetune": "train that ablation of params.yaml, below paths.ablations",
    "evaluate": "with that ablation of params.yaml beside the default model, below paths.comparisons",
    "results": "of that ablation of params.yaml",
}
CHECKED = ("source", "synthesize", "ingest", "encode")
CHECK_HELP = "read every byte of what was written before; what is damaged is made anew"
STAGE_EXAMPLES = {
    "source": [
        "sugar source",
        "sugar source --set source.kind=folder --set source.folder=photos",
        "sugar source --check",
    ],
    "synthesize": [
        "sugar synthesize",
        "sugar synthesize --set synthesize.prompts_per_subject=4",
        "sugar synthesize --recalibrate --precision 0.9 --labels judged.csv --write profiles/strict.yaml",
        "sugar synthesize --profile strict",
    ],
    "ingest": [
        "sugar ingest",
        "sugar ingest --set ingest.kind=folder --set ingest.folder=clips",
        "sugar ingest --check",
        "sugar ingest --recalibrate --precision 0.9 --labels judged.csv --write profiles/strict.yaml",
    ],
    "validate": ["sugar validate", "sugar validate --set validate.min_rows.real=1000"],
    "encode": ["sugar encode", "sugar encode --check"],
    "pretrain": ["sugar pretrain", "sugar pretrain --set pretrain.steps=2000"],
    "finetune": ["sugar finetune", "sugar finetune --ablation design_a"],
    "evaluate": ["sugar evaluate", "sugar evaluate --set 'evaluate.image_scales=[2.5, 4, 7.5]'"],
    "register": ["sugar register", "sugar register --set register.alias=champion"],
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration")
    group.add_argument("--params", metavar="FILE", default="params.yaml", help="default: params.yaml")
    group.add_argument(
        "--profile",
        metavar="NAME",
        action="append",
        default=[],
        help="lay profiles/NAME.yaml over it; repeatable",
    )
    group.add_argument(
        "--set",
        metavar="KEY.PATH=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change one value, written as YAML; repeatable",
    )


def _add_verb(
    verbs: argparse._SubParsersAction[_Parser],
    name: str,
    summary: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_common(parser)
    return parser


def _add_ablation(parser: argparse.ArgumentParser, verb: str) -> None:
    if verb in ABLATION_HELP:
        parser.add_argument("--ablation", metavar="NAME", help=ABLATION_HELP[verb])


def _number(text: str, rule: str) -> float:
    """The number that a text says.

    Raises:
        ArgumentTypeError: it says none that is finite; a ValueError would be told by the function's name.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def _whole(text: str, low: int, high: float, rule: str) -> int:
    """The whole number from `low` to `high` that a text says: 100, 1_000 or 2.5e6."""
    try:
        value = int(text)
    except ValueError:
        number = _number(text, rule)
        value = int(number) if number.is_integer() else low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def _scale(text: str) -> float:
    rule = "a number >= 0"
    if (value := _number(text, rule)) < 0.0:
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def _share(text: str) -> float:
    rule = "a number from 0 to 1"
    if not 0.0 <= (value := _number(text, rule)) <= 1.0:
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def _positive_share(text: str) -> float:
    rule = f"a number from {LEAST_SHARE:g} to 1"
    if not LEAST_SHARE <= (value := _number(text, rule)) <= 1.0:
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def _box(text: str) -> tuple[float, float, float, float]:
    from sugar.box import read_box

    try:
        corners = read_box(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if corners is None:
        raise argparse.ArgumentTypeError("must be four numbers, got an empty text")
    return corners


def _count(text: str) -> int:
    return _whole(text, 1, MOST, f"a whole number from 1 to {MOST:g}")


def _seed(text: str) -> int:
    return _whole(text, 0, 2**63 - 1, "a whole number from 0 to 2**63 - 1")


def _port(text: str) -> int:
    return _whole(text, 0, 65535, "a whole number from 0 to 65535")


def _add_generate(verbs: argparse._SubParsersAction[_Parser]) -> None:
    examples = [
        "sugar generate --model models/stage2 --image dog.jpg --noun dog \\",
        "    --prompt 'a gold dog spinning on the beach' --out dog.mp4",
    ]
    parser = _add_verb(verbs, "generate", "make a video of the subject of one picture", examples)
    parser.add_argument(
        "--model", metavar="DIR", type=Path, required=True, help="a trained SugarPipeline folder"
    )
    parser.add_argument("--image", metavar="FILE", type=Path, required=True, help="picture of the subject")
    parser.add_argument("--noun", required=True, help="what the subject is: dog, car, vase, ...")
    parser.add_argument("--prompt", required=True, help="what happens in the video")
    parser.add_argument("--out", metavar="FILE.mp4", type=Path, required=True, help="the video to write")
    parser.add_argument(
        "--identity", metavar="FILE.png", type=Path, help="cut-out with alpha, instead of segmenting --image"
    )
    parser.add_argument(
        "--box",
        metavar="'L T R B'",
        type=_box,
        help="where the subject is in --image: left, top, right, bottom in pixels; for a picture whose "
        "subject is not found, or not the right one",
    )
    parser.add_argument(
        "--image-guidance", metavar="SCALE", type=_scale, help="default: sampling.image_scale"
    )
    parser.add_argument("--text-guidance", metavar="SCALE", type=_scale, help="default: sampling.text_scale")
    parser.add_argument(
        "--lora", metavar="DIR", help="LoRA weights for the model: a folder (STAGE/lora) or hub id"
    )
    parser.add_argument("--negative-prompt", metavar="TEXT", help="default: sampling.negative_prompt")
    parser.add_argument("--steps", metavar="N", type=_count, help="default: sampling.num_steps")
    parser.add_argument(
        "--drop-dino-until", metavar="SHARE", type=_share, help="default: sampling.drop_until with drop dino"
    )
    parser.add_argument("--seed", metavar="N", type=_seed, default=0, help="default: 0")


def _add_recalibrate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("choosing thresholds")
    group.add_argument(
        "--recalibrate",
        action="store_true",
        help="make nothing: print thresholds that together reach --precision, chosen where the truth "
        "is known, with precision and recall on samples held out",
    )
    group.add_argument(
        "--precision",
        metavar="SHARE",
        type=_positive_share,
        help="wanted share of good samples among all that is accepted; default: 0.75",
    )
    group.add_argument(
        "--labels",
        metavar="FILE.csv",
        type=Path,
        help="judged samples of the dataset: key,good (yes or no); default: clips of Sprite World",
    )
    group.add_argument(
        "--write",
        metavar="FILE.yaml",
        type=Path,
        help="keep them as a profile too: profiles/NAME.yaml for --profile NAME",
    )


def _add_plan(verbs: argparse._SubParsersAction[_Parser]) -> None:
    examples = [
        "sugar plan --profile cogvideox-2b --gpu h100 --gpus 8",
        "sugar plan --profile cogvideox-5b --gpu a100-80gb --json --set training.zero_stage=3",
    ]
    parser = _add_verb(
        verbs, "plan", "memory, time and storage of the training, before it is launched", examples
    )
    parser.add_argument(
        "--gpu", metavar="NAME", default="h100", help="default: h100; an unknown name lists all"
    )
    parser.add_argument("--gpus", metavar="N", type=_count, help="default: training.num_processes")
    parser.add_argument("--gpu-memory-gib", metavar="GIB", type=_scale, help="in place of the GPU's own")
    parser.add_argument(
        "--utilisation",
        metavar="SHARE",
        type=_positive_share,
        default=0.35,
        help="of the GPU's peak; default: 0.35",
    )
    parser.add_argument(
        "--triplets",
        metavar="N",
        type=_count,
        default=100_000,
        help="for storage and synthesis; default: 1e5",
    )
    parser.add_argument(
        "--acceptance",
        metavar="SHARE",
        type=_positive_share,
        default=0.5,
        help="of made triplets; default: 0.5",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_studio(verbs: argparse._SubParsersAction[_Parser]) -> None:
    examples = ["sugar studio", "sugar studio --model models/stage2 --port 9000"]
    summary = "web page on this machine to make videos with a trained model"
    parser = _add_verb(verbs, "studio", summary, examples)
    parser.add_argument(
        "--model", metavar="DIR", type=Path, help="a trained SugarPipeline folder; default: paths.stage2"
    )
    parser.add_argument(
        "--port", metavar="N", type=_port, default=8765, help="default: 8765; 0: any that is free"
    )
    parser.add_argument(
        "--host", metavar="NAME", default="127.0.0.1", help="default: 127.0.0.1; 0.0.0.0 lets others in"
    )


def build_parser() -> argparse.ArgumentParser:
    """The parser of `sugar`; `verb` of what it gives says which was typed."""
    parser = _Parser(
        prog=PROG,
        description="Subject-driven video from one picture and one sentence: make the data, train, generate.",
        epilog="`sugar VERB --help` shows a verb's options and examples.",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb", parser_class=_Parser)
    for name, summary in STAGE_HELP.items():
        stage = _add_verb(verbs, name, summary, STAGE_EXAMPLES[name])
        _add_ablation(stage, name)
        if name in CHECKED:
            stage.add_argument("--check", action="store_true", help=CHECK_HELP)
        if name in ("synthesize", "ingest"):
            _add_recalibrate(stage)

    foundation = _add_verb(
        verbs,
        "foundation",
        "train the small pretrained networks of Sprite World",
        [
            "sugar foundation                  # on a GPU, where there is one, minutes; hours on two cores",
            "sugar foundation --only vae,dino --out /data/networks",
        ],
    )
    foundation.add_argument("--only", metavar="NAMES", help="comma-separated networks (default: all)")
    foundation.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("foundation/sprites"),
        help="default: foundation/sprites",
    )
    _add_generate(verbs)
    submit = _add_verb(
        verbs,
        "submit",
        "run a pipeline on Kubeflow Pipelines, or on this machine",
        [
            "sugar submit pipelines/sugar_tsf.py --local",
            "sugar submit pipelines/sugar_tsf.py --dry-run --profile smoke",
            "sugar submit pipelines/sugar_tsf.py --host http://localhost:8080 pretrain.steps=2000",
        ],
    )
    submit.add_argument("pipeline", type=Path, help="file with one @dsl.pipeline function")
    submit.add_argument(
        "arguments",
        nargs="*",
        metavar="KEY=VALUE",
        help="an argument of the pipeline, or a dotted key as for --set",
    )
    where = submit.add_mutually_exclusive_group()
    where.add_argument(
        "--local", action="store_true", help="run in processes of this machine (profile smoke)"
    )
    where.add_argument(
        "--dry-run", action="store_true", help="compile and check the arguments, submit nothing"
    )
    submit.add_argument(
        "--host", metavar="URL", help="Kubeflow Pipelines API (default: the kfp configuration)"
    )
    submit.add_argument("--experiment", metavar="NAME", default="sugar", help="default: sugar")

    results = _add_verb(verbs, "results", "print the figures of the last run", ["sugar results"])
    _add_ablation(results, "results")
    _add_plan(verbs)
    _add_studio(verbs)
    return parser
