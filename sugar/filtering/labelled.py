"""Clips of Sprite World that are good or bad in one known way: the ground on which thresholds are chosen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sugar.sprites import BACKGROUNDS, MOTIONS, NOUNS, STYLES, SpriteClip, draw_identity, sample_clip

KINDS: Mapping[str, Mapping[str, bool]] = {
    "right": {
        "image_text": True,
        "identity": True,
        "consecutive": True,
        "random_pair": True,
        "flow_px": True,
    },
    "other subject": {"identity": False},
    "other prompt": {"image_text": False},
    "flicker": {"consecutive": False, "random_pair": False},
    "morph": {"random_pair": False},
    "frozen": {"flow_px": False},
}
"""What each kind of clip is good (true) or bad (false) at; a score that is not named is not judged on it."""


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
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    rng, prompt_rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    frames, identities, prompts = [], [], []
    for _ in range(num_clips):
        clip, other = _pair(rng, num_frames, side_px)
        shown = clip.frames_THWC
        if kind == "flicker":
            shown = np.where(np.arange(num_frames)[:, None, None, None] % 2, other.frames_THWC, shown)
        elif kind == "morph":
            shown = np.concatenate([shown[: num_frames // 2], other.frames_THWC[num_frames // 2 :]])
        elif kind == "frozen":
            shown = np.repeat(shown[:1], num_frames, axis=0)
        frames.append(shown)
        identities.append((other if kind == "other subject" else clip).subject_rgba)
        prompts.append(_other_prompt(prompt_rng, clip) if kind == "other prompt" else clip.caption)
    return np.stack(frames), identities, prompts


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
