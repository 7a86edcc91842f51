"""The subjects of a folder of photos, as the stage reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sugar.data.subjects import Subject
from sugar.synthesis.places import list_photos
from sugar.synthesis.sourcing import PhotoRules, photo_subjects


def folder_subjects(folder: Path | str, rules: PhotoRules | None = None, **options: Any) -> Iterator[Subject]:
    return photo_subjects(list_photos(folder), str(folder), rules or PhotoRules(), **options)
