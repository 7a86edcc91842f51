"""Labelled pictures of subjects: drawn by Sprite World, or photos that are usable, new and named."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sugar.box import Box
from sugar.config import InputError
from sugar.data.atomic import sha256_bytes
from sugar.data.cut_outs import VISIBLE, fit_within
from sugar.data.image_io import BadMedia, load_image
from sugar.data.key_seed import key_seed
from sugar.data.subjects import Subject
from sugar.data.tables import file_key
from sugar.sprites import NOUNS, TRAIN_SEEDS, Identity, draw_identity, draw_subject
from sugar.synthesis.duplicates import FeatureIndex, HashIndex, perceptual_hash
from sugar.synthesis.places import OnSkip, Photo

logger = logging.getLogger(__name__)

MAX_SIDE_PX = 768
"""Longer side at which a photo is kept: no later stage looks closer."""

Name = Callable[[np.ndarray], tuple[str, str]]
"""From a picture uint8 [H, W, 3 or 4] to its noun and category; raises BadMedia when it knows none."""
Features = Callable[[np.ndarray], np.ndarray]
"""From a picture uint8 [H, W, 3 or 4] to a float32 [D] of unit length."""


@dataclass(frozen=True)
class PhotoRules:
    """Which photos are taken.

    Attributes:
        max_subjects: at most this many; max_per_noun: and of one noun.
        min_side_px: smallest width and height; max_pixels: largest width * height, by the file's header.
        max_hash_distance: photos whose perceptual hashes differ in at most so many of 64 bits are one.
        max_dino_cosine: photos of one noun whose DINO features are closer are one.
        balance: take the nouns in turn, so that a limit leaves as many of each as there are.
    """

    max_subjects: int | None = None
    max_per_noun: int | None = None
    min_side_px: int = 32
    max_pixels: int = 50_000_000
    max_hash_distance: int | None = None
    max_dino_cosine: float | None = None
    balance: bool = False


def sprite_subjects(num: int, seed: int, size_px: int = 64) -> Iterator[Subject]:
    """`num` subjects of Sprite World as cut-outs with exact alpha, nouns in turn, identities by the seed.

    Subject i is a pure function of (seed, i): a longer list begins with a shorter one.

    Raises:
        ValueError: num < 0.
    """
    if num < 0:
        raise ValueError(f"num must be >= 0, got {num}")
    nouns = list(NOUNS)
    for i in range(num):
        identity = draw_identity(
            key_seed(seed, f"subject-{i}", "identity") % len(TRAIN_SEEDS), nouns[i % len(nouns)]
        )
        yield Subject(
            key=f"{identity.noun}-{i:07d}",
            image=draw_subject(identity, size_px),
            noun=identity.noun,
            category=identity.category,
            source_digest=_identity_digest(identity),
            seed=identity.seed,
        )


def is_sprite(noun: str, seed: int, source_digest: str) -> bool:
    """Whether a subject with these values is one of Sprite World, and not a photo."""
    return noun in NOUNS and source_digest == _identity_digest(draw_identity(seed, noun))


def _identity_digest(identity: Identity) -> str:
    return sha256_bytes(f"{identity}".encode())


def photo_subjects(
    photos: Iterable[Photo],
    origin: str,
    rules: PhotoRules = PhotoRules(),
    *,
    seed: int = 0,
    name: Name | None = None,
    features: Features | None = None,
    on_skip: OnSkip | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[Subject]:
    """Subjects of photos, in their order or balanced; bad and repeated ones are skipped.

    Args:
        photos: see `sugar.synthesis.places`; a list where they are to be balanced.
        origin: what they are from, for errors.
        seed: orders each noun's photos when balanced, and seeds the subjects.
        name: names photos without a noun; without it those are skipped. When balanced, before any is taken.
        features: unit features of a picture, needed for `max_dino_cosine`.
        on_skip: called with (file, reason, message) for every photo that gives no subject.
        left_out: filled with the nouns of the listed photos that `max_subjects` leaves out ("": not known).

    Raises:
        InputError: nothing is usable.
        ValueError: `max_dino_cosine` without features.
    """
    keep, skips = _Keep(rules, name, features), _Skips(on_skip)
    if rules.balance:
        photos = in_turn(list(_named(photos, rules, name, skips)), seed)
    for number, photo in enumerate(photos):
        if rules.max_subjects is not None and len(keep.digests) >= rules.max_subjects:
            rest = photos[number:] if isinstance(photos, Sequence) else None
            _tell_left_out(rest, keep.nouns, Counter() if left_out is None else left_out)
            return
        try:
            subject = keep.subject(photo, seed)
        except BadMedia as bad:
            skips.add(photo, bad)
            continue
        yield subject
    if not keep.digests:
        raise InputError(
            f"{origin}: must hold at least one usable photo, got {skips.counts.total()} files, all skipped: "
            f"{', '.join(sorted(skips.counts))} ({skips.first})"
        )


def _named(photos: Iterable[Photo], rules: PhotoRules, name: Name | None, skips: _Skips) -> Iterator[Photo]:
    """Photos with their nouns, without those that can have none: one picture at a time is open."""
    for photo in photos:
        if photo.noun:
            yield photo
            continue
        try:
            image = fit_within(_picture(photo.name, photo.read(), rules), MAX_SIDE_PX)
            noun, category = _label(photo, image, name)
        except BadMedia as bad:
            skips.add(photo, bad)
            continue
        yield photo._replace(noun=noun, category=category)


def _label(photo: Photo, image: np.ndarray, name: Name | None) -> tuple[str, str]:
    """Noun and category of a photo, uint8 [H, W, 3 or 4].

    Raises:
        BadMedia: it has no noun, and none is found.
    """
    if photo.noun:
        return photo.noun, photo.category
    if name is None:
        raise BadMedia("no_noun", f"{photo.name}: has no noun (source.nouns: clip would name it)")
    noun, category = name(image)
    return noun, photo.category or category


def _tell_left_out(rest: Sequence[Photo] | None, kept: Counter[str], left_out: Counter[str]) -> None:
    """Say what the limit leaves out; None: photos that are read as a stream and not known."""
    taken = kept.total()
    if rest is None:
        logger.warning("source.num_subjects (%d) is reached: the photos after it are not read", taken)
        return
    left_out.update(photo.noun for photo in rest)
    lost = sorted(noun for noun in left_out if noun and noun not in kept)
    which = f", {', '.join(lost[:5])}{', ...' * (len(lost) > 5)} altogether" if lost else ""
    logger.warning("source.num_subjects (%d) is reached: %d photos are left out%s", taken, len(rest), which)


def in_turn(photos: Sequence[Photo], seed: int) -> list[Photo]:
    """Photos in an order whose every beginning is balanced: categories in turn, in each its nouns in turn.

    Each noun's photos, and the nouns of each category, are in an order of the seed.
    """
    shuffled = sorted(photos, key=lambda photo: key_seed(seed, photo.name, "balance"))
    categories: defaultdict[str, defaultdict[str, list[Photo]]] = defaultdict(lambda: defaultdict(list))
    for photo in shuffled:
        categories[photo.category][photo.noun].append(photo)
    return _merge([_merge(list(nouns.values())) for nouns in categories.values()])


def _merge(queues: Sequence[Sequence[Photo]]) -> list[Photo]:
    """The first of each, the second of each, ...; a queue that is empty is left out."""
    turns = sorted((turn, number) for number, queue in enumerate(queues) for turn in range(len(queue)))
    return [queues[number][turn] for turn, number in turns]


class _Skips:
    """Counts what gives no subject, and passes it on."""

    def __init__(self, on_skip: OnSkip | None) -> None:
        self.on_skip = on_skip
        self.counts: Counter[str] = Counter()
        self.first = ""

    def add(self, photo: Photo, bad: BadMedia) -> None:
        self.counts[bad.reason] += 1
        self.first = self.first or (f"{bad}" if photo.name in str(bad) else f"{photo.name}: {bad}")
        if self.on_skip:
            self.on_skip(photo.name, bad.reason, str(bad))


class _Keep:
    """What was kept so far, and with it whether the next photo is new."""

    def __init__(self, rules: PhotoRules, name: Name | None, features: Features | None) -> None:
        if rules.max_dino_cosine is not None and features is None:
            raise ValueError("max_dino_cosine needs DINO features")
        self.rules, self.name, self.features = rules, name, features
        self.digests: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.nouns: Counter[str] = Counter()
        self.hashes = None if rules.max_hash_distance is None else HashIndex(rules.max_hash_distance)
        self.looks = None if rules.max_dino_cosine is None else FeatureIndex(rules.max_dino_cosine)

    def subject(self, photo: Photo, seed: int) -> Subject:
        """The subject of a photo that is usable and new.

        Raises:
            BadMedia: it is not; `reason` says why.
        """
        self._room(photo, photo.noun)
        data = photo.read()
        digest = sha256_bytes(data)
        if digest in self.digests:
            raise BadMedia("duplicate", f"{photo.name}: the same bytes as {self.digests[digest]}")
        key = file_key(photo.name, digest)
        if key in self.keys:
            raise BadMedia("duplicate_key", f"{photo.name}: its key {key} is that of {self.keys[key]}")
        image = _picture(photo.name, data, self.rules)
        box = _box(photo, image)
        image = fit_within(image, MAX_SIDE_PX)
        number = self._new_hash(photo, image)
        noun, category = _label(photo, image, self.name)
        self._room(photo, noun)
        self._new_look(photo, image, noun)
        if self.hashes is not None:
            self.hashes.add(number, photo.name)
        self.digests[digest] = self.keys[key] = photo.name
        self.nouns[noun] += 1
        return Subject(key, image, noun, category, digest, key_seed(seed, key, "subject"), box)

    def _room(self, photo: Photo, noun: str) -> None:
        most = self.rules.max_per_noun
        if noun and most is not None and self.nouns[noun] >= most:
            raise BadMedia("noun_full", f"{photo.name}: there are {most} of {noun!r} already")

    def _new_hash(self, photo: Photo, image: np.ndarray) -> int:
        if self.hashes is None:
            return 0
        number = perceptual_hash(image)
        if other := self.hashes.near(number):
            raise BadMedia("near_duplicate", f"{photo.name}: looks like {other} (perceptual hash)")
        return number

    def _new_look(self, photo: Photo, image: np.ndarray, noun: str) -> None:
        if self.looks is None or self.features is None:
            return
        feature = self.features(image)
        if other := self.looks.near(feature, noun):
            raise BadMedia("near_duplicate", f"{photo.name}: looks like {other} (DINO)")
        self.looks.add(feature, noun, photo.name)


def _picture(name: str, data: bytes, rules: PhotoRules) -> np.ndarray:
    """A photo as uint8 [H, W, 3 or 4].

    Raises:
        BadMedia: it cannot be used.
    """
    image = load_image(data, max_pixels=rules.max_pixels, min_side_px=rules.min_side_px)
    if image.shape[2] == 4 and image[..., 3].max() <= VISIBLE:
        raise BadMedia("empty_alpha", f"{name}: nothing in the picture is visible")
    return image


def _box(photo: Photo, image: np.ndarray) -> Box | None:
    """The photo's box as shares of the picture, uint8 [H, W, 3 or 4].

    Raises:
        BadMedia: it is not in the picture, or the picture is a cut-out, which needs none.
    """
    if photo.box is None:
        return None
    if image.shape[2] == 4:
        raise BadMedia("bad_box", f"{photo.name}: box must be empty for a picture with transparent parts")
    try:
        return Box.of(photo.box, *image.shape[:2])
    except ValueError as error:
        raise BadMedia("bad_box", f"{photo.name}: {error}") from error
