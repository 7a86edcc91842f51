import errno
import json
import os
import signal
from pathlib import Path

import pytest

from sugar.config import InputError
from sugar.data.atomic import (
    StageLock,
    atomic_path,
    remove_file,
    remove_temporaries,
    sha256_bytes,
    sha256_file,
    write_json_atomic,
)


def test_success_puts_the_file_there_and_leaves_nothing_else(tmp_path):
    with atomic_path(tmp_path / "sub" / "a.bin") as temporary:
        temporary.write_bytes(b"new")
        assert not (tmp_path / "sub" / "a.bin").exists()
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.bin"]


def test_failure_keeps_the_old_file_and_removes_the_temporary(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "shard-000000.tar"
    path.write_bytes(b"old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"x" * 100_000)

    with pytest.raises(OSError, match=r"No space left on device.*shard-000000\.tar") as caught:
        write()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_repeats_its_bytes_and_refuses_nan(tmp_path):
    write_json_atomic(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json_atomic(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "c.json", float("nan"))
    assert not (tmp_path / "c.json").exists()


def test_file_and_bytes_hash_alike(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == sha256_bytes(b"abc")
    assert sha256_bytes(b"abc").startswith("ba7816bf")


def test_only_temporaries_are_removed(tmp_path):
    for name in (".a.tar.tmp-12-0123abcd", "a.tar", ".hidden", ".a.tmp-x"):
        (tmp_path / name).touch()
    assert remove_temporaries(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.tmp-x", ".hidden", "a.tar"]


def test_a_file_that_another_process_removes_at_the_same_time_is_removed(tmp_path, monkeypatch):
    path = tmp_path / "shard-000000.json"
    path.touch()

    def unlink_first(self: Path, *args: object, **options: object) -> None:
        os.unlink(path)
        monkeypatch.undo()
        self.unlink(*args, **options)

    monkeypatch.setattr(Path, "unlink", unlink_first)
    remove_file(path)
    assert list(tmp_path.iterdir()) == []
    remove_file(path)


def test_the_second_holder_is_told_who_is_first(tmp_path):
    folder = tmp_path / "real"
    with StageLock(folder, "ingest"):
        with pytest.raises(InputError, match=rf"real: stage ingest is running \(process {os.getpid()} on"):
            StageLock(folder, "ingest").__enter__()
        with StageLock(tmp_path / "synthetic"):
            assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
                ".real.lock",
                ".synthetic.lock",
            ]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == []
    with StageLock(folder, "ingest"):
        assert list(folder.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free_and_its_leftovers_are_removed(tmp_path):
    folder = tmp_path / "real"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with StageLock(folder, "ingest"), atomic_path(folder / "a.tar") as temporary:
            temporary.write_bytes(b"half")
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    with pytest.raises(InputError, match=f"process {child} on"):
        StageLock(folder).__enter__()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(folder.iterdir())) == 1
    with StageLock(folder, "ingest") as lock:
        assert list(folder.iterdir()) == []
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()
