import numpy as np
import pytest

from sugar.triplet import Triplet, check_key


def fields() -> dict:
    picture = np.zeros((4, 6, 3), np.uint8)
    return {
        "key": "a-1_B",
        "subject": picture,
        "identity": np.zeros((3, 3, 4), np.uint8),
        "video": picture[None],
        "fps": 8.0,
        "prompt": "a dog",
        "noun": "dog",
        "category": "animal",
        "source": "real",
    }


def test_a_triplet_keeps_what_it_is_given():
    triplet = Triplet(**fields(), scores={"identity": 0.5})
    assert triplet.accepted
    assert triplet.reasons == ()
    assert triplet.scores["identity"] == 0.5


@pytest.mark.parametrize(
    "change, message",
    [
        ({"key": "a/b"}, "key must be"),
        ({"subject": np.zeros((4, 6, 4), np.uint8)}, r"subject must be uint8 \[H, W, 3\], got uint8"),
        ({"subject": np.zeros((4, 6, 3), np.float32)}, "subject must be uint8"),
        ({"identity": np.zeros((4, 6, 3), np.uint8)}, r"identity must be uint8 \[H, W, 4\]"),
        ({"video": np.zeros((0, 4, 6, 3), np.uint8)}, r"video must be uint8 \[T, H, W, 3\]"),
        ({"video": np.zeros((4, 6, 3), np.uint8)}, "video must be"),
        ({"fps": 0.0}, "fps must be > 0, got 0.0"),
        ({"fps": float("nan")}, "fps must be > 0"),
        ({"source": "stolen"}, "source must be one of"),
        ({"scores": {"identity": float("nan")}}, "score identity must be finite, got nan"),
    ],
)
def test_a_broken_rule_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        Triplet(**(fields() | change))


@pytest.mark.parametrize("key", ["", "a.b", "../a", "/a", "a b", "a\n", "-a", "ä", "x" * 129, None])
def test_keys_that_cannot_name_a_tar_member_are_refused(key):
    with pytest.raises(ValueError, match="key must be"):
        check_key(key)
