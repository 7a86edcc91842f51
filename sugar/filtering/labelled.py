"""Clips of Sprite World that are good or bad in one known way: the ground on which thresholds are chosen."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sugar.data.manifest import SCORE_PREFIX
from sugar.data.scored import BATCH_BYTES
from sugar.data.verdicts import Labelled
from sugar.sprites import BACKGROUNDS, MOTIONS, NOUNS, STYLES, SpriteClip, draw_identity, sample_clip

KINDS: Mapping[str, bool] = {
    "right": True,
    "other subject": False,
    "other prompt": False,
    "flicker": False,
    "morph": False,
    "frozen": False,
}
"""Whether a kind of clip is good."""
NUM_TOGETHER = 16
"""Clips that are scored in one call, at most; fewer where they are large."""

ScoreClips = Callable[[np.ndarray, Sequence[np.ndarray], Sequence[str]], Mapping[str, np.ndarray]]
"""(frames [B, T, H, W, 3], identities, prompts) to scores, as `score_triplets` with its judges."""


def labelled_sprites(
    score: ScoreClips, *, num_clips: int, seed: int, num_frames: int = 9, side_px: int = 64
) -> Labelled:
    """Scored clips of Sprite World, half of them good: `num_clips` of each bad kind, as many right in all.

    Args:
        score: what scores them, with the networks that thresholds are for.
    """
    columns: dict[str, list[np.ndarray]] = {}
    together = max(1, min(NUM_TOGETHER, BATCH_BYTES // (3 * num_frames * side_px**2)))
    num_bad = sum(not good for good in KINDS.values())
    for kind, good in KINDS.items():
        clips = _labelled_clips(kind, num_clips * num_bad if good else num_clips, seed, num_frames, side_px)
        while part := list(itertools.islice(clips, together)):
            frames, identities, prompts = zip(*part, strict=True)
            found = {f"{SCORE_PREFIX}{n}": v for n, v in score(np.stack(frames), identities, prompts).items()}
            for name, values in {**found, "good": np.full(len(part), good)}.items():
                columns.setdefault(name, []).append(values)
    table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
    kinds = ", ".join(kind for kind, good in KINDS.items() if not good)
    return Labelled(table, f"clips of Sprite World that are right or bad in one known way ({kinds})")


def labelled_batch(
    kind: str, num_clips: int, seed: int, *, num_frames: int = 9, side_px: int = 64
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Clips of one kind: frames uint8 [B, T, H, W, 3], identity images and prompts.

    "right": the subject of the identity image, restyled as the prompt says, moving. "other subject": the
    identity image of another subject, half of them of the same noun. "other prompt": the prompt of another
    clip with another noun, style and place. "flicker": every second frame shows another subject. "morph": so
    does the second half. "frozen": the first frame throughout.

    Raises:
        ValueError: for an unknown kind.
    """
    clips = _labelled_clips(kind, num_clips, seed, num_frames, side_px)
    frames, identities, prompts = zip(*clips, strict=True)
    return np.stack(frames), list(identities), list(prompts)


def _labelled_clips(
    kind: str, num_clips: int, seed: int, num_frames: int, side_px: int
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Frames, identity image and prompt of each; a longer list begins with a shorter one."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    rng, prompt_rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    for _ in range(num_clips):
        clip, other = _pair(rng, num_frames, side_px)
        shown = clip.frames_THWC
        if kind == "flicker":
            shown = np.where(np.arange(num_frames)[:, None, None, None] % 2, other.frames_THWC, shown)
        elif kind == "morph":
            shown = np.concatenate([shown[: num_frames // 2], other.frames_THWC[num_frames // 2 :]])
        elif kind == "frozen":
            shown = np.repeat(shown[:1], num_frames, axis=0)
        identity = (other if kind == "other subject" else clip).subject_rgba
        yield shown, identity, _other_prompt(prompt_rng, clip) if kind == "other prompt" else clip.caption


def _pair(rng: np.random.Generator, num_frames: int, side_px: int) -> tuple[SpriteClip, SpriteClip]:
    """A clip, and one alike in all but the subject (in half of the pairs of the same noun)."""
    seeds = rng.integers(0, 2**31, 3).tolist()
    identity = draw_identity(seeds[0])
    same_noun = bool(rng.integers(2))
    nouns = [noun for noun in NOUNS if noun != identity.noun]
    other = draw_identity(seeds[1], identity.noun if same_noun else nouns[rng.integers(len(nouns))])
    setting: dict[str, Any] = {
        "style": list(STYLES)[rng.integers(len(STYLES))],
        "background": list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))],
        "motion": _moving()[rng.integers(len(_moving()))],
    }
    clips = [
        sample_clip(
            seeds[2], identity=who, num_frames=num_frames, height_px=side_px, width_px=side_px, **setting
        )
        for who in (identity, other)
    ]
    return clips[0], clips[1]


def _moving() -> list[str]:
    return [motion for motion in MOTIONS if motion != "still"]


def _other_prompt(rng: np.random.Generator, clip: SpriteClip) -> str:
    """The caption of a clip with another noun, style, place and motion."""
    choices = {
        "noun": (NOUNS, clip.identity.noun),
        "style": (STYLES, clip.style),
        "background": (BACKGROUNDS, clip.background),
        "motion": (MOTIONS, clip.motion),
    }
    drawn: dict[str, Any] = {}
    for key, (table, taken) in choices.items():
        options = [name for name in table if name != taken]
        drawn[key] = options[rng.integers(len(options))]
    return sample_clip(int(rng.integers(0, 2**31)), num_frames=1, **drawn).caption
