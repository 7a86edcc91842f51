"""A folder of clips tells, unread, whether it is as it was."""

import os
from pathlib import Path

import pytest

from sugar.config import InputError
from sugar.ingest.states import clips_state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dog").mkdir()
    for name in ("dog/1.mp4", "dog/1.txt", "2.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def touch(file: Path) -> None:
    before = file.stat().st_mtime_ns
    os.utime(file, ns=(before + 1000, before + 1000))


@pytest.mark.parametrize("name", ["dog/1.mp4", "dog/1.txt", "2.mp4"])
def test_every_file_counts_by_size_and_time(folder: Path, name: str):
    states = [clips_state(folder)]
    for change in (lambda: touch(folder / name), (folder / name).unlink):
        change()
        states.append(clips_state(folder))
    assert len(set(states)) == 3


def test_what_is_hidden_is_no_clip(folder: Path):
    before = clips_state(folder)
    (folder / ".cache").mkdir()
    for name in (".cache/3.mp4", ".DS_Store"):
        (folder / name).write_bytes(b"y")
    assert clips_state(folder) == before
    (folder / "notes.json").write_bytes(b"y")  # is counted as skipped
    assert clips_state(folder) != before


def test_what_a_link_leads_to(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "3.mp4"
    elsewhere.write_bytes(b"y")
    (folder / "3.mp4").symlink_to(elsewhere)
    before = clips_state(folder)
    elsewhere.write_bytes(b"longer")
    assert clips_state(folder) != before


def test_with_a_table_its_files_count_wherever_they_lie(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "3.mp4").write_bytes(b"y")
    (folder / "linked").symlink_to(elsewhere)
    rows = [
        "file,noun,caption",
        "linked/3.mp4,cup,a cup",
        "gone.mp4,cup,a cup",
        "a\0b.mp4,cup,a cup",
        "short",
    ]
    (folder / "captions.csv").write_text("\n".join(rows))
    before = clips_state(folder)
    (folder / "2.mp4").unlink()  # not in the table
    assert clips_state(folder) == before
    touch(elsewhere / "3.mp4")
    changed = clips_state(folder)
    assert changed != before
    (folder / "gone.mp4").write_bytes(b"z")
    assert clips_state(folder) != changed


def test_a_table_without_captions_is_for_a_captioner(folder: Path):
    (folder / "captions.csv").write_text("file,noun\n2.mp4,cup\n")
    assert clips_state(folder, captioned=False)
    with pytest.raises(InputError, match="must have the columns file, noun, caption, lacks caption"):
        clips_state(folder)
    with pytest.raises(InputError, match="must be an existing folder of clips"):
        clips_state(folder / "none")
