"""Tables and file names of users: read strictly, errors name file, line and value."""

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sugar.config import InputError
from sugar.data.tables import file_key, label_of, listed_file, read_rows
from sugar.triplet import check_key


@pytest.fixture
def table(tmp_path):
    def write(content: str | bytes):
        file = tmp_path / "captions.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def test_rows_with_line_numbers_and_without_spaces(table):
    file = table('\ufefffile , noun\na.mp4, dog \n"b, c.mp4",cat\n')
    assert read_rows(file, ("file", "noun")) == [
        (2, {"file": "a.mp4", "noun": "dog"}),
        (3, {"file": "b, c.mp4", "noun": "cat"}),
    ]


def test_headers_in_any_case_and_cells_of_any_length(table):
    file = table(f" File,NOUN\na.mp4,{'x' * 200_000}\n\n")
    assert read_rows(file, ("file", "noun")) == [(2, {"file": "a.mp4", "noun": "x" * 200_000})]


def test_wrong_rows_are_told_and_left_out(table):
    file = table("file,noun\na.mp4,dog\nb.mp4\nc.mp4,\n,cat\nd.mp4,a,b\ne.mp4,ox\n")
    told = []
    rows = read_rows(file, ("file", "noun"), lambda *bad: told.append(bad))
    assert [row["file"] for _, row in rows] == ["a.mp4", "e.mp4"]
    assert [bad[:2] for bad in told] == [(3, "bad_row"), (4, "no_noun"), (5, "no_file"), (6, "bad_row")]
    assert told[1][2] == f"{file} line 4: noun must not be empty, got 'c.mp4,'"


@pytest.mark.parametrize(
    "content, message",
    [
        ("file,caption\na,b\n", "must have the columns file, noun, lacks noun"),
        ("", "lacks file, noun"),
        ("file;noun\na;b\n", "its first line is 'file;noun': cells must be separated by commas"),
        ("file\tnoun\na\tb\n", r"is 'file\\tnoun': cells must be separated by commas"),
        ("name,noun\na,b\n", "lacks file; its first line is 'name,noun'$"),
        ("file,noun\na.mp4,\n", "line 2: noun must not be empty"),
        ("file,noun\na.mp4\n", "line 2: must have 2 cells"),
        ("file,noun\na.mp4,dog,cat\n", "line 2: must have 2 cells"),
        ('file,noun\n"a.mp4,dog\n', "not valid CSV"),
        (b"file,noun\n\xff\xfe,dog\n", "must be UTF-8 text"),
    ],
)
def test_bad_tables(table, content, message):
    with pytest.raises(InputError, match=message):
        read_rows(table(content), ("file", "noun"))


def test_no_table(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "none.csv", ("file",))


@pytest.mark.parametrize(
    "name", ["missing.mp4", "../secret.mp4", "/etc/passwd", "a/../../x.mp4", "x\0y", "sub", "x" * 300]
)
def test_a_row_names_a_file_inside_the_folder(tmp_path, name):
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.mp4").write_bytes(b"x")
    with pytest.raises(InputError, match=r"captions.csv line 4: file must name a file in .*clips"):
        listed_file(folder, folder / "captions.csv", 4, name)


@pytest.mark.parametrize(
    "name, label",
    [
        ("Teddy_Bear2.JPG", "teddy bear"),
        ("coffee mug/3.png", "coffee mug"),
        ("0123.png", ""),
        ("2023/IMG_0.jpg", ""),
        ("IMG-20230101-WA0001.jpg", ""),
        ("PXL_20231231_120000123.MP.jpg", ""),
        ("P1010001.jpg", ""),
        ("DCIM/100CANON/IMG_1.jpg", ""),
        ("n02084071/1.jpg", ""),
        ("IMG_dog.jpg", "img dog"),
        ("photo frame/1.jpg", "photo frame"),
        ("犬/1.jpg", "犬"),
        ("apple.jpg", "apple"),
    ],
)
def test_a_name_without_a_word_is_no_label(name, label):
    assert label_of(PurePath(name)) == label


@given(st.text(max_size=200), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
def test_any_file_name_gives_a_key(name, digest):
    key = file_key(name, digest)
    assert check_key(key).endswith(digest[:16])
    assert len(key) <= 89


def test_keys_of_long_names_keep_their_ends():
    digest = "0123456789abcdef" + "0" * 48
    names = [f"{'photos/' * 30}{number}.jpg" for number in range(2)]
    assert [file_key(name, digest)[-22:] for name in names] == [f"tos-{n}-{digest[:16]}" for n in range(2)]
