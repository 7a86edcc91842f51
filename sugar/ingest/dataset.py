"""The whole set of real triplets: shards in a pool of processes, verdicts, report."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sugar.data.code_digest import code_digest
from sugar.data.dataset_report import Truth, publish_dataset
from sugar.data.published import PUBLISHING, published, remember
from sugar.data.scored import Score
from sugar.data.shard_pool import MakeShard, OnSkip, inputs_digest, run_shards
from sugar.data.verdicts import Judge
from sugar.encoders.segmentation import Segmenter
from sugar.ingest.captions import Caption
from sugar.ingest.clips import Clips, FolderClips
from sugar.ingest.shard import IngestRecipe, ingest_shard
from sugar.triplet import Triplet

CODE = (
    "sugar.box",
    "sugar.sprites",
    "sugar.ingest",
    "sugar.encoders",
    "sugar.filtering",
    "sugar.metrics",
    "sugar.data.cut_outs",
    "sugar.data.shards",
    "sugar.data.video_io",
)
"""What a shard depends on besides its clips, the recipe and the networks."""


@dataclass(frozen=True)
class _Prepare:
    """Loads the networks in a worker; pickles."""

    clips: Clips
    clips_per_shard: int
    recipe: IngestRecipe
    make_cut: Callable[[], Segmenter]
    make_score: Callable[[], Score]
    make_caption: Callable[[], Caption] | None

    def __call__(self) -> MakeShard:
        cut, score = self.make_cut(), self.make_score()
        caption = self.make_caption() if self.make_caption else None

        def make(index: int, on_skip: OnSkip) -> Iterable[Triplet]:
            numbers = _of_shard(index, self.clips_per_shard, len(self.clips))
            return ingest_shard(map(self.clips.load, numbers), self.recipe, cut, score, on_skip, caption)

        return make


def ingest_dataset(
    folder: Path | str,
    clips: Clips,
    recipe: IngestRecipe,
    *,
    make_cut: Callable[[], Segmenter],
    make_score: Callable[[], Score],
    networks_digest: str,
    make_caption: Callable[[], Caption] | None = None,
    judge: Judge | None = None,
    limits: Mapping[str, Sequence[float]] | None = None,
    truth: Truth | None = None,
    shard_size: int = 256,
    num_workers: int = 1,
    report: Path | str | None = None,
    verdict_key: str | None = None,
    on_work: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Triplets of all clips under `folder`: shards, manifest and report; returns the counts and the rate.

    Shards that are there and made from the same inputs are kept. The caller holds the folder's lock.

    Args:
        make_cut, make_score: called in each worker to load the segmenter and the scorer; they must pickle.
        networks_digest: changes when one of their networks does.
        make_caption: as those; for clips without a caption.
        judge: thresholds on the finished manifest; never part of a shard.
        limits: score -> those thresholds, for the report.
        truth: labelled samples such as these, for the report.
        shard_size: triplets a shard, at most.
        report: folder of contact sheets and rejections.json; by default `report` inside `folder`.
        verdict_key: changes when `judge` or `limits` do; with it a dataset that is as it was left is
            recognised without being read, and so are the clips of a folder that is as it was: they are not
            even listed. None: verdicts and report are made anew.
        on_work: called before anything is made, verdicts and report included.

    Raises:
        InputError: no triplet at all, or as the loaders.
    """
    per_clip = recipe.max_windows * recipe.num_identities
    per_shard = max(1, shard_size // per_clip)
    made_from = (code_digest(CODE), asdict(recipe), networks_digest)
    report = report or Path(folder) / "report"
    look = None
    if verdict_key is not None and isinstance(clips, FolderClips):
        look = inputs_digest(made_from, per_shard, clips.look(), verdict_key, code_digest(PUBLISHING))
        if (known := published(folder, report, look)) is not None:
            return known
    digests = [
        inputs_digest(*made_from, [clips.digest(i) for i in numbers])
        for shard in range(-(-len(clips) // per_shard))
        if (numbers := _of_shard(shard, per_shard, len(clips)))
    ]
    prepare = _Prepare(clips, per_shard, recipe, make_cut, make_score, make_caption)
    skips, left_out = [], 0
    if isinstance(clips, FolderClips):
        skips, left_out = clips.skips, clips.left_out
        look = None if clips.has_unreadable else look
    whole = inputs_digest(digests, skips, left_out, verdict_key, code_digest(PUBLISHING))
    if verdict_key is not None and (known := published(folder, report, whole)) is not None:
        if look is not None:
            remember(folder, report, whole, known, look)
        return known
    on_work()
    run = run_shards(
        folder,
        digests,
        prepare,
        num_workers=num_workers,
        num_expected=len(clips) if per_clip == 1 else None,
        label="ingest",
        beside=truth and functools.partial(truth, Path(report), len(clips)),
    )
    for skip in skips:
        run.skips.add(*skip)
    figures = publish_dataset(folder, run, judge, report=report, limits=limits, truth=truth)
    if left_out:
        figures["left_out"] = float(left_out)
    if verdict_key is not None:
        remember(folder, report, whole, figures, look)
    return figures


def _of_shard(index: int, per_shard: int, num: int) -> range:
    return range(index * per_shard, min((index + 1) * per_shard, num))
