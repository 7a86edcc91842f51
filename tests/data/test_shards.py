import io
import json
import os
import resource
import signal
import tarfile

import numpy as np
import pytest

from sugar.config import InputError
from sugar.data.atomic import StageLock, sha256_file
from sugar.data.image_io import BadMedia, encode_png
from sugar.data.manifest import accepted_rows, rows_table
from sugar.data.shards import (
    SUFFIXES,
    is_complete,
    read_record,
    read_shard,
    read_triplets,
    record_path,
    remove_damaged_shards,
    shard_name,
    write_shard,
)
from sugar.data.tar import read_tar, write_tar
from sugar.data.video_io import decode_video


@pytest.fixture
def shard(tmp_path, make_triplet):
    write_shard(tmp_path / shard_name(0), map(make_triplet, range(3)), inputs_digest="in")
    return tmp_path / shard_name(0)


def test_a_triplet_comes_back_as_it_went_in(shard, make_triplet):
    triplets = list(read_shard(shard))
    assert [triplet.key for triplet in triplets] == ["sample-0000", "sample-0001", "sample-0002"]
    for number, triplet in enumerate(triplets):
        expected = make_triplet(number)
        np.testing.assert_array_equal(triplet.subject, expected.subject)
        np.testing.assert_array_equal(triplet.identity, expected.identity)
        assert np.abs(triplet.video.astype(float) - expected.video).mean() < 2
        for name in ("fps", "prompt", "noun", "category", "source", "style", "background", "motion", "seed"):
            assert getattr(triplet, name) == getattr(expected, name)
        assert triplet.scores == expected.scores
        assert triplet.provenance == expected.provenance
        assert triplet.source_digest == expected.source_digest


def test_textures_and_colours_come_back_and_leave_other_samples_as_they_are(tmp_path, make_triplet, shard):
    path = tmp_path / "painted" / shard_name(0)
    rows = write_shard(path, [make_triplet(0), make_triplet(1, texture="wool", colour="red")])
    assert [row.get("colour") for row in rows] == [None, "red"]
    assert [(t.texture, t.colour) for t in read_shard(path)] == [("", ""), ("wool", "red")]
    abouts = [[members["json"] for _, members in read_tar(p, SUFFIXES)] for p in (path, shard)]
    assert abouts[0][0] == abouts[1][0]
    assert b"texture" not in abouts[0][0]


def test_webdataset_reads_a_shard(shard):
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["sample-0000", "sample-0001", "sample-0002"]
    assert set(SUFFIXES) <= samples[0].keys()
    assert decode_video(samples[0]["mp4"])[0].shape == (5, 32, 48, 3)


def test_bytes_repeat_and_do_not_know_the_verdict(shard, tmp_path, make_triplet):
    again = tmp_path / "again" / shard_name(0)
    rejected = (make_triplet(i, accepted=False, reasons=("too_still",)) for i in range(3))
    rows = write_shard(again, rejected, inputs_digest="other")
    assert again.read_bytes() == shard.read_bytes()
    assert [(row["accepted"], row["reasons"]) for row in rows] == [(False, ["too_still"])] * 3


def test_the_digest_follows_what_encoders_see(tmp_path, make_triplet):
    def digest(**changes: object) -> str:
        return write_shard(tmp_path / shard_name(1), [make_triplet(0, **changes)])[0]["digest"]

    same = digest()
    assert digest(scores={"identity": 0.1}, key="other", accepted=False, seed=9) == same
    assert digest(prompt="a cat") != same
    assert digest(video=make_triplet(1).video) != same
    assert digest(identity=make_triplet(1).identity) != same


def test_the_record_completes_a_shard(shard):
    record = read_record(shard)
    assert record["sha256"] == sha256_file(shard)
    assert [row["key"] for row in record["rows"]] == ["sample-0000", "sample-0001", "sample-0002"]
    assert rows_table(record["rows"])["shard"].to_pylist() == [shard.name] * 3
    assert is_complete(shard, "in")
    assert not is_complete(shard, "other inputs")
    assert not is_complete(shard.with_name(shard_name(9)), "in")


def test_notes_are_read_after_the_last_triplet(tmp_path, make_triplet):
    skipped: dict[str, int] = {}

    def triplets():
        yield make_triplet(0)
        skipped["truncated"] = 2

    write_shard(tmp_path / shard_name(0), triplets(), notes=skipped)
    assert read_record(tmp_path / shard_name(0))["notes"] == {"truncated": 2}


def test_what_is_damaged_is_not_complete(shard):
    whole, record = shard.read_bytes(), record_path(shard).read_bytes()
    shard.write_bytes(whole[:-1])
    assert not is_complete(shard, "in")
    shard.write_bytes(whole)
    assert is_complete(shard, "in")
    record_path(shard).write_bytes(record[:50])
    assert not is_complete(shard, "in")
    record_path(shard).write_text(json.dumps(json.loads(record) | {"schema_version": 7}))
    assert not is_complete(shard, "in")
    with pytest.raises(InputError, match=r"shard-000000\.json: schema_version must be 1, got 7"):
        read_record(shard)


def test_a_record_of_which_any_byte_has_changed_is_not_believed(shard):
    record = record_path(shard).read_bytes()
    rng = np.random.default_rng(0)
    places = {*rng.integers(0, len(record), 150).tolist(), record.index(b"num_bytes"), record.index(b'"a dog') + 3}
    for at in places:
        data = bytearray(record)
        data[at] ^= 1 << int(rng.integers(8))
        record_path(shard).write_bytes(data)
        assert not is_complete(shard, "in"), at
    for other in (json.loads(record), {k: v for k, v in json.loads(record).items() if k != "checksum"}):
        record_path(shard).write_text(json.dumps(other))
        with pytest.raises(InputError, match=r"shard-000000\.json: is not what was written"):
            read_record(shard)
    assert remove_damaged_shards(shard.parent) == [shard.name]
    record_path(shard).write_bytes(record)
    assert is_complete(shard, "in")


def test_shards_with_other_bytes_than_were_written_do_not_count_as_there(shard, make_triplet):
    folder, whole = shard.parent, shard.read_bytes()
    for number in (1, 2, 3):
        write_shard(folder / shard_name(number), [make_triplet(number)], inputs_digest="in")
    assert remove_damaged_shards(folder) == []
    shard.write_bytes(whole[:2000] + b"!" + whole[2001:])
    (folder / shard_name(1)).unlink()
    record_path(folder / shard_name(2)).write_text("{")
    assert is_complete(shard, "in")  # its size is what it was
    assert remove_damaged_shards(folder) == [shard_name(number) for number in (0, 1, 2)]
    assert [is_complete(folder / shard_name(n), "in") for n in range(4)] == [False, False, False, True]
    assert remove_damaged_shards(folder) == []


def test_a_full_disk_costs_the_unfinished_shard_alone(shard, tmp_path, make_triplet):
    before = sorted(p.name for p in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (shard.stat().st_size - 5000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large.*finished files are kept.*shard-000001\.tar"):
            write_shard(tmp_path / shard_name(1), map(make_triplet, range(5)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert is_complete(shard, "in")


def test_a_shard_that_is_written_anew_is_incomplete_until_it_is_there(shard, make_triplet):
    def triplets():
        assert not is_complete(shard, "in")
        yield make_triplet(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(shard, triplets(), inputs_digest="other")
    assert not is_complete(shard, "in")
    assert not is_complete(shard, "other")


def test_a_kill_in_the_middle_leaves_finished_shards(tmp_path, make_triplet):
    folder = tmp_path / "real"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:

        def triplets():
            yield make_triplet(1)
            os.write(writer, b"x")
            signal.pause()

        with StageLock(folder, "ingest"):
            write_shard(folder / shard_name(0), [make_triplet(0)], inputs_digest="in")
            write_shard(folder / shard_name(1), triplets(), inputs_digest="in")
    os.read(reader, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with StageLock(folder, "ingest"):
        assert is_complete(folder / shard_name(0), "in")
        assert not is_complete(folder / shard_name(1), "in")
        assert sorted(p.name for p in folder.iterdir()) == ["shard-000000.json", "shard-000000.tar"]


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"subject.png": b"no picture"}, "not_an_image"),
        ({"identity.png": encode_png(np.zeros((4, 4, 3), np.uint8))}, "channels"),
        ({"subject.png": encode_png(np.zeros((4, 4, 4), np.uint8))}, "channels"),
        ({"mp4": b""}, "empty"),
        ({"json": b"{"}, "bad_json"),
        ({"json": b"[]"}, "bad_json"),
        ({"json": b'{"schema_version": 1}'}, "bad_json"),
        ({"json": b'{"schema_version": 2}'}, "schema_version"),
    ],
)
def test_a_bad_sample_is_counted_and_its_neighbours_are_kept(shard, changes, reason):
    samples = dict(read_tar(shard, SUFFIXES))
    samples["sample-0001"] |= changes
    write_tar(shard, samples.items())
    bad: list[tuple[str, str]] = []
    triplets = list(read_shard(shard, on_bad=lambda *told: bad.append(told)))
    assert [triplet.key for triplet in triplets] == ["sample-0000", "sample-0002"]
    assert bad == [("sample-0001", reason)]
    with pytest.raises(BadMedia, match="sample-0001"):
        list(read_shard(shard))


def test_a_json_with_a_field_of_its_own_is_bad(shard):
    samples = dict(read_tar(shard, SUFFIXES))
    about = json.loads(samples["sample-0000"]["json"])
    samples["sample-0000"]["json"] = json.dumps(about | {"accepted": False, "key": "x"}).encode()
    write_tar(shard, samples.items())
    with pytest.raises(BadMedia, match="does not describe a triplet"):
        list(read_shard(shard))


def test_only_the_samples_asked_for_are_decoded(shard):
    with tarfile.open(shard, "a") as tar:
        for suffix in SUFFIXES:
            tar.addfile(tarfile.TarInfo(f"bad.{suffix}"), io.BytesIO())
    assert [triplet.key for triplet in read_shard(shard, {"sample-0002"})] == ["sample-0002"]


def test_rows_of_the_manifest_choose_triplets_and_bring_the_verdict(tmp_path, make_triplet):
    rows = write_shard(tmp_path / shard_name(0), map(make_triplet, range(3)))
    rows += write_shard(tmp_path / shard_name(1), map(make_triplet, range(3, 5)))
    rows[1] |= {"accepted": False, "reasons": ["low_identity"]}
    table = rows_table(rows)
    everything = list(read_triplets(tmp_path, table))
    for num_workers, ahead in ((1, 0), (3, 2), (2, 100)):
        threaded = list(read_triplets(tmp_path, table, num_workers=num_workers, ahead=ahead))
        assert [t.key for t in threaded] == [t.key for t in everything]
        assert all((a.video == b.video).all() for a, b in zip(threaded, everything, strict=True))
    assert [triplet.key for triplet in everything] == table["key"].to_pylist()
    assert (everything[1].accepted, everything[1].reasons) == (False, ("low_identity",))
    kept = [triplet.key for triplet in read_triplets(tmp_path, accepted_rows(table))]
    assert kept == [f"sample-{number:04d}" for number in (0, 2, 3, 4)]


def test_threads_skip_what_is_bad_and_keep_its_neighbours(tmp_path, make_triplet):
    shard = tmp_path / shard_name(0)
    rows = write_shard(shard, map(make_triplet, range(4)))
    samples = dict(read_tar(shard, SUFFIXES))
    samples["sample-0002"]["mp4"] = b"no video"
    write_tar(shard, samples.items())
    told: list[tuple[str, str]] = []
    table = rows_table(rows)
    kept = read_triplets(tmp_path, table, lambda *bad: told.append(bad), num_workers=2, ahead=3)
    assert [triplet.key for triplet in kept] == [f"sample-{number:04d}" for number in (0, 1, 3)]
    assert told == [("sample-0002", "not_a_video")]
    with pytest.raises(BadMedia, match="sample-0002"):
        list(read_triplets(tmp_path, table, num_workers=2, ahead=3))


def test_a_sample_with_other_bytes_than_its_row_tells_of_is_bad(tmp_path, make_triplet):
    shard = tmp_path / shard_name(0)
    table = rows_table(write_shard(shard, map(make_triplet, range(3))))
    samples = dict(read_tar(shard, SUFFIXES))
    samples["sample-0001"]["mp4"] = samples["sample-0002"]["mp4"]  # a clip, but another one
    write_tar(shard, samples.items())
    told: list[tuple[str, str]] = []
    kept = [t.key for t in read_triplets(tmp_path, table, lambda *bad: told.append(bad), num_workers=2)]
    assert (kept, told) == (["sample-0000", "sample-0002"], [("sample-0001", "changed")])
    with pytest.raises(BadMedia, match="sample-0001: not the bytes that the manifest is about"):
        list(read_triplets(tmp_path, table))


def test_a_shard_that_is_no_tar_costs_its_own_samples(tmp_path, make_triplet):
    rows = write_shard(tmp_path / shard_name(0), map(make_triplet, range(2)))
    rows += write_shard(tmp_path / shard_name(1), [make_triplet(2)])
    shard = tmp_path / shard_name(0)
    shard.write_bytes(b"x" * shard.stat().st_size)
    told: list[tuple[str, str]] = []
    table = rows_table(rows)
    assert [t.key for t in read_triplets(tmp_path, table, lambda *bad: told.append(bad))] == ["sample-0002"]
    assert told == [("sample-0000", "no_tar"), ("sample-0001", "no_tar")]
    for on_bad in (None, lambda *bad: None):
        with pytest.raises(InputError, match="cannot be read as a tar"):
            list(read_triplets(tmp_path, table, on_bad))
        shard.unlink(missing_ok=True)  # a shard that is not there is no damaged one
