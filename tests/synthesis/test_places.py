"""Photos from folders and tables, here or behind an address; near-duplicates, names and balance."""

import os
from collections import Counter

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
from sugar.synthesis.places import Photo, list_photos, open_place, table_photos
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
    assert [photo.noun for photo in list_photos(tmp_path, labelled=False)] == ["dog", ""]
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
        ("name\nx\n", "must have the columns file, lacks file"),
        ("file,noun\n", "at least one picture"),
        ("file,category\na.png,plant\n", "line 2: category must be one of"),
        ("file,noun\n,dog\n", "line 2: file must not be empty"),
        ("file\na\nb,c\n", "line 3: must have 1 cells"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        table_photos(tmp_path / "list.csv")


def test_cells_are_text_whatever_the_header_looks_like(tmp_path):
    (tmp_path / "0000").write_bytes(png(0))
    rows = [f"gone{i}.png, ," for i in range(3)] + ['0000, owl ,"2 2 40 40"']
    (tmp_path / "list.csv").write_text("\n".join(["\ufefffile, noun, box", *rows]))
    photos = table_photos(tmp_path / "list.csv")
    assert [photo.noun for photo in photos] == ["", "", "", "owl"]
    assert photos[3].read() == png(0) and photos[3].box is not None


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_a_row_without_a_noun_is_left_to_be_named_here_and_elsewhere(tmp_path, address):
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "subjects.csv").write_text("file,noun,category\na.png,,active_object\n")
    place = address.format(tmp_path)
    with pytest.raises(InputError, match="line 2: noun must not be empty"):
        list_photos(place)
    (subject,) = photo_subjects(list_photos(place, labelled=False), place, name=lambda _: ("dog", "animal"))
    assert (subject.noun, subject.category) == ("dog", "active_object")


def test_names_without_a_word_are_no_labels(tmp_path):
    for number, name in enumerate(
        ("2023/IMG_0.png", "DCIM/dog.png", "DSC_0012.png", "dog/1.png", "n02/1.png")
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(number))
    assert [photo.noun for photo in list_photos(tmp_path) if photo.noun] == ["dog"]
    skips = Skips()
    (subject,) = folder_subjects(tmp_path, on_skip=skips.add)
    assert (subject.noun, skips.counts) == ("dog", {"no_noun": 4})
    photos = list_photos(tmp_path, labelled=False)
    named = photo_subjects(photos, "here", name=lambda _: ("cup", "static_object"))
    assert Counter(subject.noun for subject in named) == {"cup": 4, "dog": 1}


def test_unknown_places():
    with pytest.raises(InputError, match="cannot be opened"):
        open_place("teleport://photos")


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


def test_balance_holds_for_nouns_that_are_found(tmp_path):
    nouns = ["cat"] * 6 + ["dog"] * 2 + ["mug"]
    of_picture = {picture(i).tobytes(): noun for i, noun in enumerate(nouns)}
    asked = []

    def name(image: np.ndarray) -> tuple[str, str]:
        asked.append(image.tobytes())
        noun = of_picture[image.tobytes()]
        return noun, "static_object" if noun == "mug" else "animal"

    photos = photos_of(*[""] * len(nouns))
    photos.append(photos[0]._replace(name="broken.png", read=lambda: b"no picture"))
    skips, left_out = Skips(), Counter()
    rules = PhotoRules(max_subjects=4, balance=True)
    kept = photo_subjects(photos, "here", rules, name=name, on_skip=skips.add, left_out=left_out)
    assert Counter(subject.noun for subject in kept) == {"mug": 1, "cat": 2, "dog": 1}
    assert len(asked) == len(nouns)
    assert (skips.counts, left_out) == ({"not_an_image": 1}, {"cat": 4, "dog": 1})


def test_what_a_limit_leaves_out_is_said(caplog):
    photos, left_out = photos_of("cat", "cat", "cat", "dog", "vase", "vase"), Counter()
    list(photo_subjects(photos, "here", PhotoRules(max_subjects=2), left_out=left_out))
    assert left_out == {"cat": 1, "dog": 1, "vase": 2}
    assert "source.num_subjects (2) is reached: 4 photos are left out, dog, vase altogether" in caplog.text
    list(photo_subjects(iter(photos), "here", PhotoRules(max_subjects=2)))
    assert "source.num_subjects (2) is reached: the photos after it are not read" in caplog.text
    caplog.clear()
    list(photo_subjects(photos, "here", PhotoRules(max_subjects=6)))
    assert not caplog.text


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


def test_what_is_no_photo_is_not_read(tmp_path):
    (tmp_path / "dog.png").write_bytes(png(0))
    os.mkfifo(tmp_path / "fox.jpg")
    with open(tmp_path / "owl.jpg", "wb") as file:
        file.truncate(1 << 40)
    skips = Skips()
    (subject,) = folder_subjects(tmp_path, on_skip=skips.add)
    assert (subject.noun, skips.counts) == ("dog", {"not_a_file": 1, "too_large": 1})


def test_columns_of_parquet_are_read_as_those_of_csv(tmp_path):
    def write(columns: dict[str, list[str]]) -> None:
        pq.write_table(pa.table(columns), tmp_path / "list.parquet")

    write({" File": ["a.png"], "NOUN ": ["owl"]})
    assert [photo[:2] for photo in table_photos(tmp_path / "list.parquet")] == [("a.png", "owl")]
    write({"path": ["a.png"], "noun": ["owl"]})
    with pytest.raises(InputError, match="columns file, lacks file; its columns are 'path,noun'"):
        table_photos(tmp_path / "list.parquet")
    write({"file": ["a.png"], "File": ["b.png"]})
    with pytest.raises(InputError, match="columns must differ, got 'file,File'"):
        table_photos(tmp_path / "list.parquet")


def test_links_to_folders_are_followed_and_each_folder_comes_once(tmp_path):
    names = ("photos/dog/1.png", "photos/.store/2.png", "disk/fox/3.png", "disk/fox/far/4.png")
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(number))
    links = {
        "photos/cat": "photos/.store",  # what is hidden has no other name
        "photos/fox": "disk/fox",
        "photos/owl": "disk/fox",  # again
        "photos/a-dog": "photos/dog",  # there without a link
        "disk/fox/loop": "photos",
        "disk/fox/far/self": "disk/fox/far",
    }
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    found = [(photo.name, photo.noun) for photo in list_photos(tmp_path / "photos")]
    assert found == [
        ("cat/2.png", "cat"),
        ("dog/1.png", "dog"),
        ("fox/3.png", "fox"),
        ("fox/far/4.png", "fox"),
    ]
    (tmp_path / "photos" / "all").symlink_to("/nowhere")
    assert len(list_photos(tmp_path / "photos")) == 4
