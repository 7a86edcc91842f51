"""What made a shard is written down beside it and changes nothing else."""

import subprocess

import pytest
import shard_stubs

from sugar.data.dataset_report import publish_dataset
from sugar.data.manifest import COLUMNS, dataset_digest, read_manifest, rows_table
from sugar.data.origin import git_revision, image_environment, origin
from sugar.data.shard_pool import run_shards
from sugar.data.shards import read_record, shard_name


@pytest.fixture
def made_by(monkeypatch):
    """This process as in a container of that revision and image."""

    def container(revision: str, image: str | None) -> None:
        monkeypatch.setenv("SUGAR_GIT_REVISION", revision)
        monkeypatch.setenv("SUGAR_IMAGE_DIGEST", image or "")

    return container


def publish(folder, digests=("a", "b")):
    publish_dataset(folder, run_shards(folder, list(digests), shard_stubs.prepare))
    return read_manifest(folder)


def test_another_revision_or_image_makes_the_same_dataset(tmp_path, made_by):
    made_by("1111", "sha256:one")
    one = publish(tmp_path / "one")
    made_by("2222", None)
    two = publish(tmp_path / "two")
    assert set(one["git_revision"].to_pylist()) == {"1111"}
    assert set(one["image_digest"].to_pylist()) == {"sha256:one"}
    assert set(two["image_digest"].to_pylist()) == {None}
    assert dataset_digest(tmp_path / "one") == dataset_digest(tmp_path / "two")
    names = [shard_name(i) for i in (0, 1)]
    tars = [[(tmp_path / folder / name).read_bytes() for name in names] for folder in ("one", "two")]
    assert tars[0] == tars[1]


def test_a_shard_that_is_kept_keeps_its_origin(tmp_path, made_by):
    made_by("1111", None)
    publish(tmp_path)
    made_by("2222", "sha256:two")
    table = publish(tmp_path, ("a", "changed"))
    made = dict(zip(table["shard"].to_pylist(), table["git_revision"].to_pylist(), strict=True))
    assert made == {shard_name(0): "1111", shard_name(1): "2222"}
    assert read_record(tmp_path / shard_name(1))["origin"]["image_digest"] == "sha256:two"


def test_a_manifest_without_origins_has_the_same_digest(tmp_path, made_by):
    import pyarrow.parquet as pq

    made_by("1111", None)
    table = publish(tmp_path)
    before = dataset_digest(tmp_path)
    pq.write_table(table.drop_columns(["git_revision", "image_digest"]), tmp_path / "manifest.parquet")
    assert dataset_digest(tmp_path) == before
    assert rows_table([])["git_revision"].null_count == 0
    assert "git_revision" not in COLUMNS


def test_the_revision_names_the_commit_and_whether_it_was_edited(tmp_path):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=tmp_path, check=True
        )

    assert git_revision(tmp_path / "nowhere") is None
    (tmp_path / "sugar").mkdir()
    (tmp_path / "sugar" / "a.py").write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git_revision.cache_clear()
    clean = git_revision(tmp_path)
    assert clean is not None and len(clean) == 12
    (tmp_path / "sugar" / "a.py").write_text("2\n")
    git_revision.cache_clear()
    edited = git_revision(tmp_path)
    assert edited is not None and edited.startswith(f"{clean}-")


def test_a_container_knows_its_image_where_it_is_named_by_digest():
    assert image_environment("registry/sugar@sha256:ab") == {"SUGAR_IMAGE_DIGEST": "sha256:ab"}
    assert image_environment("sugar:0.1.0") == {}
    assert set(origin()) == {"git_revision", "image_digest"}
