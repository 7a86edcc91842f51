"""What a folder of clips holds: usable clips with captions, the rest with counted reasons."""

import functools
import os

import pytest

from sugar.config import InputError
from sugar.ingest.listing import list_clips
from sugar.synthesis.nouns import category_of
from sugar.triplet import MAX_PROMPT_LENGTH

listing_of = functools.partial(list_clips, category_of=category_of)


@pytest.fixture
def folder(tmp_path):
    """Writes files, a text or bytes each; returns the folder."""

    def write(files):
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write


def reasons_of(skips):
    return {skip.name: skip.reason for skip in skips}


def test_captions_beside_the_clips(folder):
    clips, skips, left_out = listing_of(
        folder(
            {
                "red car/1.mp4": "",
                "red car/1.txt": "a red car\n  drives by\n",
                "Dog_2.MP4": "",
                "Dog_2.txt": "a dog",
                "cup/0001.m2ts": "",
                "cup/0001.txt": "\ufeffa thing",
                "IMG_1.mov": "",
                "IMG_1.txt": "a thing",
                ".hidden.mp4": "",
                "README.txt": "of whom",
            }
        )
    )
    assert [clip[1:] for clip in clips] == [
        ("Dog_2.MP4", "dog", "a dog", "animal", None),
        ("cup/0001.m2ts", "cup", "a thing", "static_object", None),
        ("red car/1.mp4", "red car", "a red car drives by", "active_object", None),
    ]
    assert (reasons_of(skips), left_out) == ({"IMG_1.mov": "no_noun"}, 0)


def test_boxes_of_the_table(folder):
    files = dict.fromkeys(("a.mp4", "b.mp4", "c.mp4"), "")
    table = 'file,noun,caption,box\na.mp4,dog,a dog,"8 16, 40 50"\nb.mp4,dog,a dog,\nc.mp4,dog,a dog,all\n'
    clips, skips, _ = listing_of(folder(files | {"captions.csv": table}))
    assert [clip.box for clip in clips] == [(8, 16, 40, 50), None]
    assert reasons_of(skips) == {"captions.csv line 4": "bad_box"}


def test_one_bad_caption_costs_its_clip_alone(folder):
    names = ("good", "latin", "blank", "silent", "long", "most")
    captions = {
        "good.txt": "a dog",
        "latin.txt": "un café".encode("latin-1"),
        "blank.txt": " \n",
        "long.txt": "x" * (MAX_PROMPT_LENGTH + 1),
        "most.txt": "x" * MAX_PROMPT_LENGTH,
    }
    place = folder({f"{name}.mp4": "" for name in names} | captions | {"thumb.jpg": "", "notes.json": ""})
    clips, skips, _ = listing_of(place)
    assert [clip.name for clip in clips] == ["good.mp4", "most.mp4"]
    assert reasons_of(skips) == {
        "latin.mp4": "bad_caption",
        "blank.mp4": "no_caption",
        "silent.mp4": "no_caption",
        "long.mp4": "caption_too_long",
        "thumb.jpg": "not_a_clip",
        "notes.json": "not_a_clip",
    }
    # What has no words is for a captioner, where there is one.
    clips, skips, _ = listing_of(place, captioned=False)
    assert {clip.name: clip.caption for clip in clips if not clip.caption} == {
        "blank.mp4": "",
        "silent.mp4": "",
    }
    assert set(reasons_of(skips).values()) == {"bad_caption", "caption_too_long", "not_a_clip"}


def test_one_bad_row_costs_itself_alone(folder):
    rows = [
        "File, Noun ,Caption",
        "a.mp4,dog,a dog",
        "gone.mp4,cat,a cat",
        "../out.mp4,cat,a cat",
        "a.mp4,dog,",
        "a.mp4,,a dog",
        "a.mp4,dog,a dog, unquoted",
        f"a.mp4,dog,{'x' * 200_000}",
        f"{'y' * 300}.mp4,dog,a dog",
        'clip.dat,cup,"a cup\nof tea"',
    ]
    clips, skips, _ = listing_of(folder({"captions.csv": "\n".join(rows), "a.mp4": "", "clip.dat": ""}))
    assert [clip[1:5] for clip in clips] == [
        ("a.mp4", "dog", "a dog", "animal"),
        ("clip.dat", "cup", "a cup of tea", "static_object"),
    ]
    assert reasons_of(skips) == {
        "captions.csv line 3": "missing_file",
        "captions.csv line 4": "missing_file",
        "captions.csv line 5": "no_caption",
        "captions.csv line 6": "no_noun",
        "captions.csv line 7": "bad_row",
        "captions.csv line 8": "caption_too_long",
        "captions.csv line 9": "missing_file",
    }
    assert any("captions.csv line 3: file must name a file in" in skip.message for skip in skips)
    assert all(len(skip.message) < 600 for skip in skips)


def test_a_category_of_the_table_is_checked(folder):
    place = folder({"a.mp4": "", "captions.csv": "file,noun,caption,category\na.mp4,gnu,a gnu,animal\n"})
    assert listing_of(place).clips[0].category == "animal"
    folder({"captions.csv": "file,noun,caption,category\na.mp4,gnu,a gnu,banana\n"})
    with pytest.raises(InputError, match=r"line 2: category must be one of animal, .*, got 'banana'"):
        listing_of(place)


def test_nothing_usable_says_why(folder, tmp_path):
    with pytest.raises(InputError, match="must be an existing folder"):
        listing_of(tmp_path / "none")
    with pytest.raises(InputError, match=r"must hold captions\.csv with a row a clip, or clips with a \.txt"):
        listing_of(tmp_path)
    with pytest.raises(
        InputError, match=r"skipped: no_caption \(1\), not_a_clip \(1\), e\.g\. a\.mp4: has no"
    ):
        listing_of(folder({"a.mp4": "", "b.jpg": ""}))
    folder({"captions.csv": "file,noun,caption\nc.mp4,dog,a dog\n"})
    with pytest.raises(InputError, match=r"missing_file \(1\), e\.g\. .*got 'c\.mp4'"):
        listing_of(tmp_path)


def test_names_of_any_bytes_are_listed(tmp_path):
    for name in (b"caf\xe9.mp4", b"line\nbreak.mp4"):
        file = os.path.join(os.fsencode(tmp_path), name)
        for path, content in ((file, b""), (file[:-4] + b".txt", b"a cup")):
            with open(path, "wb") as stream:
                stream.write(content)
    clips, skips, _ = listing_of(tmp_path)
    assert [(clip.name, clip.noun) for clip in clips] == [
        ("caf\udce9.mp4", "caf"),
        ("line\nbreak.mp4", "line break"),
    ]
    assert not skips


def test_links_to_folders_are_followed_once(folder, tmp_path):
    place = folder(
        {"clips/dog.mp4": "", "clips/dog.txt": "a dog", "disk/cat.mp4": "", "disk/cat.txt": "a cat"}
    )
    (place / "clips" / "cats").symlink_to(place / "disk")
    (place / "disk" / "back").symlink_to(place / "clips")
    clips, skips, _ = listing_of(place / "clips")
    assert [(clip.name, clip.noun) for clip in clips] == [("cats/cat.mp4", "cats"), ("dog.mp4", "dog")]
    assert skips == []
