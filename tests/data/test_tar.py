import io
import tarfile
from pathlib import Path

import pytest

from sugar.config import InputError
from sugar.data.image_io import BadMedia
from sugar.data.tar import read_tar, write_tar

SUFFIXES = ("a", "b.c")
SAMPLES = [(key, {"a": key.encode() * 300, "b.c": b"2"}) for key in ("one", "two", "six")]


def add(tar: tarfile.TarFile, name: str, data: bytes = b"x", **fields: object) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    for field, value in fields.items():
        setattr(header, field, value)
    tar.addfile(header, io.BytesIO(data))


@pytest.fixture
def shard(tmp_path) -> Path:
    write_tar(tmp_path / "s.tar", SAMPLES)
    return tmp_path / "s.tar"


def read(path: Path, **options: object) -> tuple[list[str], list[tuple[str, str]]]:
    bad: list[tuple[str, str]] = []
    samples = dict(read_tar(path, SUFFIXES, on_bad=lambda key, reason: bad.append((key, reason)), **options))
    assert all(samples[key] == members for key, members in SAMPLES if key in samples)
    return list(samples), sorted(bad)


def test_round_trip_and_bytes_that_repeat(shard, tmp_path):
    assert read(shard) == (["one", "two", "six"], [])
    write_tar(tmp_path / "again.tar", iter(SAMPLES))
    assert (tmp_path / "again.tar").read_bytes() == shard.read_bytes()


def test_an_empty_shard_is_a_shard(tmp_path):
    assert write_tar(tmp_path / "s.tar", []) == 0
    assert read(tmp_path / "s.tar") == ([], [])


def test_keys_choose_samples(shard):
    assert read(shard, keys={"six", "one"}) == (["one", "six"], [])
    assert read(shard, keys={"six", "gone"}) == (["six"], [("gone", "missing")])
    assert read(shard, keys=set()) == ([], [])


def test_a_key_twice_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="'one' appears twice"):
        write_tar(tmp_path / "s.tar", [*SAMPLES, SAMPLES[0]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, fields, told",
    [
        ("../one.a", {}, ("../one.a", "unsafe_name")),
        ("/etc/one.a", {}, ("/etc/one.a", "unsafe_name")),
        ("folder/one.a", {}, ("folder/one.a", "unsafe_name")),
        ("x\x01y.a", {}, ("x\x01y.a", "unsafe_name")),
        ("bad.a", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, ("bad", "not_a_file")),
        ("bad.a", {"type": tarfile.LNKTYPE, "linkname": "one.a"}, ("bad", "not_a_file")),
        ("bad.a", {"type": tarfile.DIRTYPE}, ("bad", "not_a_file")),
        ("bad.exe", {}, ("bad", "unexpected_member")),
        ("bad.a", {}, ("bad", "incomplete")),
    ],
)
def test_a_bad_member_costs_its_sample_alone(shard, name, fields, told):
    data = b"" if "type" in fields else b"x"
    with tarfile.open(shard, "a") as tar:
        add(tar, name, data, **fields)
    assert read(shard) == (["one", "two", "six"], [told])
    with pytest.raises(BadMedia, match=told[1]):
        list(read_tar(shard, SUFFIXES))


def test_a_duplicate_costs_its_sample(shard):
    with tarfile.open(shard, "a") as tar:
        add(tar, "two.a", b"other")
    assert read(shard) == (["one", "six"], [("two", "duplicate")])


def test_a_member_that_is_too_large_is_not_read(shard, monkeypatch):
    monkeypatch.setattr("sugar.data.tar.MAX_MEMBER_BYTES", 1000)
    with tarfile.open(shard, "a") as tar:
        add(tar, "bad.a", b"x" * 1001)
        add(tar, "bad.b.c")
    assert read(shard) == (["one", "two", "six"], [("bad", "too_large")])


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 1000])
def test_a_truncated_tar_gives_its_whole_samples_and_says_so(shard, cut):
    data = shard.read_bytes()
    with tarfile.open(shard) as tar:
        starts = {member.name: member.offset_data for member in tar}
    shard.write_bytes(data[: starts["six.a"] + cut])
    keys, bad = read(shard)
    assert keys == ["one", "two"]
    assert dict(bad)["six"] == "truncated"


def test_a_damaged_header_does_not_hide_the_samples_behind_it(shard):
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        at = tar.getmember("two.a").offset
    data[at : at + 512] = b"\xff" * 512
    shard.write_bytes(data)
    assert read(shard) == (["one"], [("s.tar", "truncated")])
    assert read(shard, keys={"one", "two", "six"})[1] == [
        ("s.tar", "truncated"),
        ("six", "missing"),
        ("two", "missing"),
    ]


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\xff" * 2000])
def test_what_is_no_tar_is_refused(tmp_path, content):
    path = tmp_path / "s.tar"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"s\.tar: cannot be read as a tar"):
        list(read_tar(path, SUFFIXES))


def test_a_missing_tar_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tar: cannot be read as a tar"):
        list(read_tar(tmp_path / "gone.tar", SUFFIXES))
