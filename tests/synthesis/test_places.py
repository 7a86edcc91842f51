"""Photos from folders, tables and tars, here or behind an address; near-duplicates, names and balance."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from photo_folders import folder_subjects

from sugar.config import InputError
from sugar.data.image_io import BadMedia, encode_png
from sugar.data.shard_pool import Skips
from sugar.sprites import CATEGORIES
from sugar.synthesis.duplicates import FeatureIndex, HashIndex, perceptual_hash
from sugar.synthesis.nouns import read_vocabulary, vocabulary
from sugar.synthesis.places import Photo, list_photos, open_place, table_photos, tar_photos
from sugar.synthesis.sourcing import PhotoRules, in_turn, photo_subjects


def picture(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def png(seed: int) -> bytes:
    return encode_png(picture(seed))


@pytest.fixture
def bucket():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def test_a_folder_at_an_address_is_as_one_here(tmp_path, bucket):
    for name in ("dog/rex.png", "dog/.hidden.png", "red_mug.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(len(name)))
        bucket.pipe(f"/photos/{name}", png(len(name)))
    here, there = list_photos(tmp_path), list_photos("memory://photos")
    assert [photo[:3] for photo in here] == [photo[:3] for photo in there]
    assert [photo.noun for photo in here] == ["dog", "red mug"]
    assert [photo.read() for photo in here] == [photo.read() for photo in there]
    assert [photo.noun for photo in list_photos(tmp_path, files_name_nouns=False)] == ["dog", ""]
    ours, theirs = (list(folder_subjects(place)) for place in (tmp_path, "memory://photos"))
    assert [subject.key for subject in ours] == [subject.key for subject in theirs]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_name_files_beside_them_or_anywhere(tmp_path, bucket, kind):
    (tmp_path / "a.png").write_bytes(png(0))
    bucket.pipe("/photos/b.png", png(1))
    rows = {"file": ["a.png", "memory://photos/b.png", "gone.png"], "noun": ["owl", "", "mug"]}
    table = pa.table(rows)
    place = tmp_path / f"list.{kind}"
    if kind == "csv":
        pc.write_csv(table, place)
    else:
        pq.write_table(table, place)
    photos = table_photos(place)
    assert [photo[:3] for photo in photos] == [
        ("a.png", "owl", "animal"),
        ("memory://photos/b.png", "", ""),
        ("gone.png", "mug", "static_object"),
    ]
    assert [photo.read() for photo in photos[:2]] == [png(0), png(1)]
    skips = Skips()
    (subject,) = photo_subjects(photos, "list", on_skip=skips.add)
    assert subject.noun == "owl"
    assert skips.counts == {"no_noun": 1, "unreadable_file": 1}


@pytest.mark.parametrize(
    "text, message",
    [
        ("name\nx\n", "must have the column file"),
        ("file,noun\n", "at least one picture"),
        ("file,category\na.png,plant\n", "row 1: category must be one of"),
        ("file,noun\n,dog\n", "row 1: file must not be empty"),
        ("file\na\nb,c\n", "cannot be read as CSV or Parquet"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        table_photos(tmp_path / "list.csv")


def test_unknown_places(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        open_place("teleport://photos")
    with pytest.raises(InputError, match="must name tar files"):
        tar_photos(tmp_path / "x-{0..1}.tar")


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def test_tars_are_streamed_and_damage_costs_the_rest_of_one(tmp_path, bucket):
    about = json.dumps({"noun": "fox", "category": "active_object"}).encode()
    write_tar(
        tmp_path / "x-0.tar",
        {
            "0.jpg": png(0),
            "0.json": about,
            "1.png": png(1),
            "1.cls": b"teapot",
            "2.txt": b"?",
            "3.png": png(3),
        },
    )
    write_tar(tmp_path / "x-1.tar", {"d/4.png": png(4), "d/4.json": b"{broken", "5.png": png(5)})
    whole = (tmp_path / "x-1.tar").read_bytes()
    (tmp_path / "x-1.tar").write_bytes(whole[: whole.index(b"5.png") + 600])
    skips = Skips()
    photos = list(tar_photos(tmp_path / "x-{0..1}.tar", skips.add))
    assert [photo[:3] for photo in photos] == [
        ("x-0.tar/0.jpg", "fox", "active_object"),
        ("x-0.tar/1.png", "teapot", "static_object"),
        ("x-0.tar/3.png", "", ""),
        ("x-1.tar/4.png", "", ""),
    ]
    assert photos[3].read() == png(4)
    assert skips.counts == {"damaged_tar": 1}
    assert len(list(tar_photos(tmp_path))) == 4
    bucket.put(str(tmp_path / "x-0.tar"), "/tars/x-0.tar")
    assert [photo.noun for photo in tar_photos("memory://tars/*.tar")] == ["fox", "teapot", ""]


def test_hashes_of_a_picture_and_its_copies_are_near():
    original = picture(0)
    _, jpeg = cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])
    copies = [
        cv2.resize(original, (200, 150), interpolation=cv2.INTER_CUBIC),
        cv2.imdecode(jpeg, cv2.IMREAD_COLOR),
        np.clip(original * 0.8 + 20, 0, 255).astype(np.uint8),
        np.dstack([original, np.full(original.shape[:2], 255, np.uint8)]),
    ]
    first = perceptual_hash(original)
    assert max((first ^ perceptual_hash(copy)).bit_count() for copy in copies) <= 4
    apart = [(first ^ perceptual_hash(picture(seed))).bit_count() for seed in range(1, 20)]
    assert min(apart) > 12
    assert perceptual_hash(np.full((20, 20, 3), 90, np.uint8)) in (0, 1 << 63)


def test_the_hash_index_finds_what_comparing_all_would():
    rng = np.random.default_rng(0)
    index, kept = HashIndex(5), []
    for number in range(400):
        value = (
            int(rng.integers(0, 2**63))
            if number % 2 or not kept
            else kept[number // 3] ^ (1 << number % 60) ^ 3
        )
        truth = any((value ^ other).bit_count() <= 5 for other in kept)
        assert (index.near(value) is not None) == truth
        index.add(value, str(number))
        kept.append(value)
    with pytest.raises(ValueError, match="max_distance"):
        HashIndex(64)


def test_the_feature_index_keeps_groups_apart():
    index = FeatureIndex(0.9)
    axes = np.eye(6, dtype=np.float32)
    for number, axis in enumerate(axes):
        assert index.near(axis, "dog") is None
        index.add(axis, "dog", str(number))
    near = np.array([0, 0, 0, 0.1, 0, 1], np.float32) / np.sqrt(1.01)
    assert index.near(near, "dog") == "5"
    assert index.near(near, "cat") is None


def photos_of(*nouns: str) -> list[Photo]:
    return [
        Photo(f"{i}.png", noun, "animal" if noun in "cat dog" else "static_object", lambda i=i: png(i))
        for i, noun in enumerate(nouns)
    ]


def test_near_duplicates_and_full_nouns_are_skipped():
    photos = photos_of("cat", "cat", "cat", "mug", "mug")
    photos[1] = photos[1]._replace(read=lambda: encode_png(cv2.resize(picture(0), (200, 150))))
    skips = Skips()
    rules = PhotoRules(max_hash_distance=6, max_per_noun=1)
    kept = list(photo_subjects(photos, "here", rules, on_skip=skips.add))
    assert [subject.noun for subject in kept] == ["cat", "mug"]
    assert skips.counts == {"noun_full": 3}
    skips = Skips()
    list(photo_subjects(photos, "here", PhotoRules(max_hash_distance=6), on_skip=skips.add))
    assert skips.counts == {"near_duplicate": 1}
    assert "looks like 0.png" in skips.examples["near_duplicate"][0]
    with pytest.raises(ValueError, match="needs DINO features"):
        list(photo_subjects(photos, "here", PhotoRules(max_dino_cosine=0.9)))
    skips = Skips()
    same = np.ones(1, np.float32)
    list(
        photo_subjects(
            photos, "x", PhotoRules(max_dino_cosine=0.9), features=lambda _: same, on_skip=skips.add
        )
    )
    assert skips.counts == {"near_duplicate": 3}


def test_balance_takes_categories_and_nouns_in_turn():
    photos = photos_of(*["cat"] * 20, *["dog"] * 2, *["mug"] * 3, "vase")
    order = in_turn(photos, 0)
    assert sorted(photo.name for photo in order) == sorted(photo.name for photo in photos)
    assert sorted(photo.noun for photo in order[:4]) == ["cat", "dog", "mug", "vase"]
    assert [photo.category for photo in order[:8]].count("animal") == 4
    assert [p.name for p in in_turn(photos[::-1], 0)] == [p.name for p in order]
    assert [p.name for p in in_turn(photos, 1)] != [p.name for p in order]


def test_photos_without_a_noun_are_named():
    def name(image: np.ndarray) -> tuple[str, str]:
        if image[0, 0, 0] == picture(1)[0, 0, 0]:
            raise BadMedia("no_noun", "nothing fits")
        return "otter", "animal"

    skips = Skips()
    photos = photos_of("", "", "mug")
    kept = list(photo_subjects(photos, "here", name=name, on_skip=skips.add))
    assert [(subject.noun, subject.category) for subject in kept] == [
        ("otter", "animal"),
        ("mug", "static_object"),
    ]
    assert skips.counts == {"no_noun": 1}


def test_clip_names_what_its_own_text_features_are_nearest_to(tiny_networks):
    import torch

    from sugar.encoders.features import clip_image_features
    from sugar.synthesis.naming import ClipNouns, DinoFeatures

    clip = str(tiny_networks / "clip")
    namer = ClipNouns(clip, {"cat": "animal", "boat": "active_object", "vase": "static_object"}, 0.0)
    image = picture(0)
    target = clip_image_features(namer.model, image[None])[0]
    expected = int(torch.argmax(namer.texts @ target))
    noun, category = namer(image)
    assert noun == ["cat", "boat", "vase"][expected]
    assert category == {"cat": "animal", "boat": "active_object", "vase": "static_object"}[noun]
    namer.texts[(expected + 1) % 3] = target
    assert namer(image)[0] == ["cat", "boat", "vase"][(expected + 1) % 3]
    namer.min_probability = 1.0
    with pytest.raises(BadMedia, match="probability") as refused:
        namer(image)
    assert refused.value.reason == "no_noun"
    feature = DinoFeatures(str(tiny_networks / "dino"))(np.dstack([image, image[..., 0]]))
    assert feature.shape == (16,)
    assert abs(float(np.linalg.norm(feature)) - 1) < 1e-5


def test_the_vocabulary(tmp_path):
    nouns = vocabulary()
    assert len(nouns) > 1000
    assert set(nouns.values()) == set(CATEGORIES)
    assert all(noun == " ".join(noun.lower().split()) for noun in nouns)
    assert (nouns["otter"], nouns["teddy bear"], nouns["teapot"]) == CATEGORIES
    (tmp_path / "own.csv").write_text("noun,category\ngizmo,static_object\n")
    assert read_vocabulary(tmp_path / "own.csv") == {"gizmo": "static_object"}
    (tmp_path / "own.csv").write_text("noun,category\ngizmo,plant\n")
    with pytest.raises(InputError, match="category must be one of"):
        read_vocabulary(tmp_path / "own.csv")
