"""Places of photos tell, unread, whether they are as they were; where they cannot, they say so."""

import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from sugar.synthesis.states import photos_state


def add(place: Path) -> None:
    (place / "dog" / "2.png").write_bytes(b"two")


def remove(place: Path) -> None:
    (place / "dog" / "1.png").unlink()


def change(place: Path) -> None:
    file = place / "dog" / "1.png"
    before = file.stat().st_mtime_ns
    file.write_bytes(b"eno")
    os.utime(file, ns=(before + 1000, before + 1000))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.png").write_bytes(b"one")
    (tmp_path / "list.csv").write_text("file,noun\ndog/1.png,dog\n")
    return tmp_path


@pytest.mark.parametrize("what", [add, remove, change])
def test_a_folder(place: Path, what: Callable[[Path], None]):
    before = photos_state("folder", place)
    (place / "notes.txt").write_text("no photo")
    assert before is not None and photos_state("folder", place) == before == photos_state(
        "folder", f"file://{place}"
    )
    what(place)
    assert photos_state("folder", place) != before


def test_a_folder_with_a_table_and_a_table_of_its_own(place: Path):
    (place / "subjects.csv").write_text("file,noun\ndog/1.png,dog\n")
    states = photos_state("folder", place), photos_state("table", place / "list.csv")
    add(place)  # in neither table
    assert (photos_state("folder", place), photos_state("table", place / "list.csv")) == states
    change(place)
    changed = photos_state("folder", place), photos_state("table", place / "list.csv")
    assert changed[0] != states[0] and changed[1] != states[1]
    (place / "subjects.csv").write_text("file,noun\ndog/1.png,fox\n")
    assert photos_state("folder", place) != changed[0]


def test_a_name_of_any_bytes(place: Path):
    before = photos_state("folder", place)
    odd = Path(os.fsdecode(os.fsencode(place) + b"/dog/caf\xe9.png"))
    odd.write_bytes(b"odd")
    with_odd = photos_state("folder", place)
    assert None is not with_odd != before
    odd.write_bytes(b"changed")
    assert photos_state("folder", place) != with_odd


def test_what_a_link_leads_to(place: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "3.png"
    elsewhere.write_bytes(b"three")
    (place / "dog" / "3.png").symlink_to(elsewhere)
    before = photos_state("folder", place)
    elsewhere.write_bytes(b"another")
    assert photos_state("folder", place) != before


def test_what_a_link_to_a_folder_leads_to(place: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (place / "cat").symlink_to(elsewhere)
    before = photos_state("folder", place)
    (elsewhere / "3.png").write_bytes(b"three")
    assert photos_state("folder", place) != before


def test_tars(place: Path):
    (place / "x-0.tar").write_bytes(b"0")
    before = photos_state("webdataset", place / "x-{0..0}.tar")
    assert before == photos_state("webdataset", place)
    (place / "x-1.tar").write_bytes(b"1")
    assert photos_state("webdataset", place) != before


def test_addresses_tell_if_their_files_have_versions(monkeypatch: pytest.MonkeyPatch):
    system = fsspec.filesystem("memory")
    system.pipe(
        {"/photos/dog/1.png": b"one", "/photos/list.csv": b"file\ndog/1.png\n", "/photos/x.tar": b"0"}
    )
    kinds = {
        "folder": "memory://photos",
        "table": "memory://photos/list.csv",
        "webdataset": "memory://photos/x.tar",
    }
    before = {kind: photos_state(kind, place) for kind, place in kinds.items()}
    assert None not in before.values()
    assert before == {kind: photos_state(kind, place) for kind, place in kinds.items()}
    system.pipe({"/photos/dog/1.png": b"eno", "/photos/x.tar": b"1"})
    assert all(photos_state(kind, place) != before[kind] for kind, place in kinds.items())
    whole = type(system).info
    monkeypatch.setattr(
        type(system),
        "info",
        lambda *args, **more: {**whole(*args, **more), "created": None, "modified": None},
    )
    assert photos_state("webdataset", kinds["webdataset"]) is None
    monkeypatch.undo()
    system.rm("/", recursive=True)
