"""Labelled pictures of subjects: drawn by Sprite World, or read from a folder of photos."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sugar.config import InputError
from sugar.data.atomic import sha256_bytes, sha256_file
from sugar.data.cut_outs import VISIBLE, fit_within
from sugar.data.image_io import BadMedia, load_image
from sugar.data.key_seed import key_seed
from sugar.data.subjects import Subject
from sugar.data.tables import file_key, listed_file, noun_of, read_rows
from sugar.sprites import CATEGORIES, NOUNS, TRAIN_SEEDS, draw_identity, draw_subject
from sugar.synthesis.nouns import category_of

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2"}
)
TABLE = "subjects.csv"
MAX_SIDE_PX = 768
"""Longer side at which a photo is kept: no later stage looks closer."""

OnSkip = Callable[[str, str, str], None]
"""Called with name, reason and message of what is skipped."""


class Photo(NamedTuple):
    """A file of a folder and its label."""

    file: Path
    name: str
    noun: str
    category: str


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
            source_digest=sha256_bytes(f"{identity}".encode()),
            seed=identity.seed,
        )


def folder_subjects(
    folder: Path | str,
    *,
    seed: int = 0,
    max_subjects: int | None = None,
    min_side_px: int = 32,
    max_pixels: int = 50_000_000,
    on_skip: OnSkip | None = None,
) -> Iterator[Subject]:
    """Subjects of a folder of photos, in the order of `list_photos`; bad and repeated files are skipped.

    Args:
        folder: see `list_photos`.
        max_subjects: at most this many.
        min_side_px: smallest width and height; max_pixels: largest width * height, by the file's header.
        on_skip: called with (file, reason, message) for every file that gives no subject.

    Raises:
        InputError: the folder or its table is wrong (before any photo is read), or nothing in it is usable.
    """
    photos = list_photos(folder)
    return _read_photos(Path(folder), photos, seed, max_subjects, min_side_px, max_pixels, on_skip)


def _read_photos(
    folder: Path,
    photos: Sequence[Photo],
    seed: int,
    max_subjects: int | None,
    min_side_px: int,
    max_pixels: int,
    on_skip: OnSkip | None,
) -> Iterator[Subject]:
    seen: dict[str, str] = {}
    reasons: list[str] = []
    for photo in photos:
        if max_subjects is not None and len(seen) >= max_subjects:
            return
        try:
            digest = sha256_file(photo.file)
            if digest in seen:
                raise BadMedia("duplicate", f"{photo.name}: the same bytes as {seen[digest]}")
            image = load_image(photo.file, max_pixels=max_pixels, min_side_px=min_side_px)
            if image.shape[2] == 4 and image[..., 3].max() <= VISIBLE:
                raise BadMedia("empty_alpha", f"{photo.name}: nothing in the picture is visible")
        except BadMedia as bad:
            reasons.append(bad.reason)
            if on_skip:
                on_skip(photo.name, bad.reason, str(bad))
            continue
        seen[digest] = photo.name
        image = fit_within(image, MAX_SIDE_PX)
        key = file_key(photo.name, digest)
        yield Subject(key, image, photo.noun, photo.category, digest, key_seed(seed, key, "subject"))
    if not seen:
        raise InputError(
            f"{folder}: must hold at least one usable photo, got {len(photos)} files, all skipped: "
            f"{', '.join(sorted(set(reasons)))}"
        )


def list_photos(folder: Path | str) -> list[Photo]:
    """Files and labels of a folder of photos.

    With `subjects.csv` (columns file, noun and, if wanted, category) exactly its files, in its order. Without
    it every picture below the folder, sorted: in a sub-folder the folder's name is the noun, else the words
    of the file's name ("teddy_bear2.jpg": "teddy bear"). A missing category is that of `category_of`.

    Raises:
        InputError: no such folder, no picture in it, or a wrong row in the table.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: must be an existing folder of photos")
    table = folder / TABLE
    photos = _photos_of_table(folder, table) if table.is_file() else _photos_of_tree(folder)
    if not photos:
        raise InputError(
            f"{folder}: must hold photos ({', '.join(sorted(IMAGE_SUFFIXES))}) or {TABLE}, got none"
        )
    return photos


def _photos_of_tree(folder: Path) -> list[Photo]:
    photos = []
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.suffix.lower() not in IMAGE_SUFFIXES or any(part.startswith(".") for part in relative.parts):
            continue
        if file.is_file():
            noun = noun_of(relative)
            photos.append(Photo(file, relative.as_posix(), noun, category_of(noun)))
    return photos


def _photos_of_table(folder: Path, table: Path) -> list[Photo]:
    rows = read_rows(table, ("file", "noun"))
    photos = []
    for line, row in rows:
        category = row.get("category") or category_of(row["noun"])
        if category not in CATEGORIES:
            raise InputError(
                f"{table} line {line}: category must be one of {', '.join(CATEGORIES)}, got {category!r}"
            )
        photos.append(
            Photo(listed_file(folder, table, line, row["file"]), row["file"], row["noun"], category)
        )
    return photos
