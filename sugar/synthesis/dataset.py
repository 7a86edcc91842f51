"""The subjects, and the whole set of synthetic triplets: shards in a pool of processes, verdicts, report."""

import functools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sugar.data.atomic import write_json_atomic
from sugar.data.code_digest import code_digest
from sugar.data.dataset_report import Truth, publish_dataset
from sugar.data.published import PUBLISHING, published, remember
from sugar.data.scored import Score
from sugar.data.shard_pool import MakeShard, OnSkip, Skips, inputs_digest, run_shards
from sugar.data.subjects import Subject, read_subjects, subjects_manifest, write_subjects
from sugar.data.verdicts import Judge
from sugar.encoders.segmentation import Segmenter
from sugar.synthesis.shard import SynthesisRecipe, synthesize_shard
from sugar.triplet import Triplet

logger = logging.getLogger(__name__)

CODE = (
    "sugar.box",
    "sugar.sprites",
    "sugar.synthesis",
    "sugar.encoders",
    "sugar.filtering",
    "sugar.metrics",
    "sugar.data.cut_outs",
    "sugar.data.shards",
    "sugar.data.video_io",
)
"""What a shard depends on besides its subjects, the recipe and the networks."""
SUBJECTS_CODE = (
    "sugar.box",
    "sugar.sprites",
    "sugar.synthesis",
    "sugar.data.image_io",
    "sugar.data.subjects",
)
"""What drawn subjects depend on besides their number, seed and size."""
PHOTOS_CODE = ("sugar.data.cut_outs", "sugar.data.folders", "sugar.data.tables", "sugar.encoders")
"""What subjects of photos depend on besides."""
UNREADABLE = "subject_"
"""How the reasons begin of subjects that cannot be read back, which may be whole again the next time."""
SUBJECTS_PER_SHARD = 256
"""Bounds the memory in which photos wait to be written."""
MAX_REFUSED = 0.5
"""Share of refused sentences beyond which a language model is hardly one, and that is said aloud."""


def source_dataset(
    folder: Path | str,
    subjects: Callable[[], Iterable[Subject]],
    skips: Skips,
    made_from: Sequence[Any] | None = None,
    on_work: Callable[[], object] = lambda: None,
    left_out: Counter[str] | None = None,
) -> dict[str, float]:
    """Write the subjects, and what was skipped to `rejections.json` beside them; returns the counts.

    Args:
        subjects: gives those of `sprite_subjects` or `photo_subjects`; called where there is work.
        skips: what the latter's `on_skip` fills while it is read.
        made_from: plain values, all that the subjects depend on besides the code; with it subjects that are
            as they were left are recognised without being read. None: they are made anew.
        on_work: called before anything is made.
        left_out: what `photo_subjects` fills while it is read.
    """
    whole = None if made_from is None else inputs_digest(code_digest(SUBJECTS_CODE), made_from)
    if whole is not None and (known := published(folder, folder, whole)) is not None:
        return known
    gathered = subjects()  # refuses what cannot be used before a run is opened
    on_work()
    table = write_subjects(folder, gathered, SUBJECTS_PER_SHARD)
    rejections = {"subjects": table.num_rows, "skipped": skips.as_json()}
    write_json_atomic(
        Path(folder) / "rejections.json", rejections | ({"left_out": left_out} if left_out else {})
    )
    counts = {f"skipped_{reason}": float(count) for reason, count in sorted(skips.counts.items())}
    figures = {
        "subjects": float(table.num_rows),
        "nouns": float(len(set(table["noun"].to_pylist()))),
        "skipped": float(sum(skips.counts.values())),
        **({"left_out": float(left_out.total())} if left_out else {}),
        **counts,
    }
    if whole is not None:
        remember(folder, folder, whole, figures)
    return figures


@dataclass(frozen=True)
class _Prepare:
    """Loads the networks in a worker; pickles."""

    subjects: Path
    keys_of_shard: list[list[str]]
    recipe: SynthesisRecipe
    make_cut: Callable[[], Segmenter]
    make_score: Callable[[], Score]

    def __call__(self) -> MakeShard:
        backends, cut, score = self.recipe.load(), self.make_cut(), self.make_score()

        def make(index: int, on_skip: OnSkip) -> Iterable[Triplet]:
            keys = frozenset(self.keys_of_shard[index])

            def note(key: str, reason: str) -> None:
                if key in keys:  # a tar tells of all that is wrong in it
                    on_skip(key, f"{UNREADABLE}{reason}", f"{key}: cannot be read back")

            subjects = read_subjects(self.subjects, keys, on_bad=note)
            return synthesize_shard(subjects, self.recipe, backends, cut, score, on_skip)

        return make


def synthesize_dataset(
    subjects: Path | str,
    folder: Path | str,
    recipe: SynthesisRecipe,
    *,
    make_cut: Callable[[], Segmenter],
    make_score: Callable[[], Score],
    networks_digest: str,
    judge: Judge | None = None,
    limits: Mapping[str, Sequence[float]] | None = None,
    truth: Truth | None = None,
    shard_size: int = 256,
    num_workers: int = 1,
    report: Path | str | None = None,
    verdict_key: str | None = None,
    on_work: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Triplets of all subjects under `folder`: shards, manifest and report; returns the counts and the rate.

    Shards that are there and made from the same inputs are kept, but for those of subjects that could not be
    read. The caller holds the folder's lock.

    Args:
        subjects: folder that `source_dataset` wrote.
        make_cut, make_score: called in each worker to load the segmenter and the scorer; they must pickle.
        networks_digest: changes when one of their networks does.
        judge: thresholds on the finished manifest; never part of a shard.
        limits: score -> those thresholds, for the report.
        truth: labelled samples such as these, for the report.
        shard_size: triplets a shard, at most (but at least one subject's).
        report: folder of contact sheets and rejections.json; by default `report` inside `folder`.
        verdict_key: changes when `judge` or `limits` do; with it a dataset that is as it was left is
            recognised without being read. None: verdicts and report are made anew.
        on_work: called before anything is made, verdicts and report included.

    Raises:
        InputError: no subjects, no triplet at all, or as the loaders.
    """
    table = subjects_manifest(subjects, ("key", "digest"))
    keys, digests = table["key"].to_pylist(), table["digest"].to_pylist()
    per_shard = max(1, shard_size // recipe.prompts_per_subject)
    parts = [slice(start, start + per_shard) for start in range(0, len(keys), per_shard)]
    made_from = (code_digest(CODE), asdict(recipe), networks_digest)
    shards = [inputs_digest(*made_from, keys[part], digests[part]) for part in parts]
    report = report or Path(folder) / "report"
    whole = inputs_digest(shards, verdict_key, code_digest(PUBLISHING))
    if verdict_key is not None and (known := published(folder, report, whole)) is not None:
        return known
    on_work()
    run = run_shards(
        folder,
        shards,
        _Prepare(Path(subjects), [keys[part] for part in parts], recipe, make_cut, make_score),
        num_workers=num_workers,
        num_expected=len(keys) * recipe.prompts_per_subject,
        label="synthesize",
        passing=UNREADABLE,
        beside=truth and functools.partial(truth, Path(report), len(keys) * recipe.prompts_per_subject),
    )
    unreadable = sum(n for reason, n in run.skips.counts.items() if reason.startswith(UNREADABLE))
    if unreadable:
        logger.warning(
            "%s: %d subjects cannot be read and are left out; `sugar source --check` makes damaged ones anew",
            subjects, unreadable,
        )  # fmt: skip
    figures = publish_dataset(folder, run, judge, report=report, limits=limits, truth=truth)
    if recipe.generators.writer is not None:
        figures |= writer_figures(run.table, recipe.generators.writer.model)
    if verdict_key is not None and not unreadable:
        remember(folder, report, whole, figures)
    return figures


def writer_figures(table: pa.Table, model: str) -> dict[str, float]:
    """How many prompts of a manifest the language model wrote, and how many of its answers were refused, by
    reason; warns with an example where these are more than MAX_REFUSED of all.
    """
    about = table["provenance"]
    pattern = pc.ExtractRegexOptions(r'"prompt_refused": "(?P<reason>\w+)"')
    found = pc.call_function("extract_regex", [about], pattern)
    reasons = pc.call_function("struct_field", [found.drop_null()], pc.StructFieldOptions([0]))
    counts = {entry["values"]: entry["counts"] for entry in reasons.value_counts().to_pylist()}
    refused = sum(counts.values())
    if refused > MAX_REFUSED * table.num_rows:
        example = json.loads(about.filter(pc.call_function("is_valid", [found]))[0].as_py())
        logger.warning(
            "synthesize.prompts.writer: %d of %d sentences of %s were refused, e.g. for its %s: %r",
            refused, table.num_rows, model, example["prompt_refused"], example["answer"],
        )  # fmt: skip
    return {
        "prompts_by_language_model": float(table.num_rows - refused),
        "prompts_refused": float(refused),
        **{f"prompts_refused_{reason}": float(count) for reason, count in sorted(counts.items())},
    }
