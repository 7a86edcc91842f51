"""Text of users in messages: one line, UTF-8, short."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sugar.data.printable import printable


def test_what_a_line_cannot_hold_is_escaped():
    assert printable("caf\udce9\n\x1b[31m.mp4") == "caf\\udce9\\n\\x1b[31m.mp4"
    assert printable("süß 犬 🐕\u200d🦺 \u202f.mp4") == "süß 犬 🐕\u200d🦺 \u202f.mp4"
    assert printable("x" * 81, 80) == "x" * 79 + "…"
    assert printable("x" * 80, 80) == "x" * 80


@given(st.text(st.characters()), st.integers(1, 40))
def test_any_text(text, most):
    assert json.loads(json.dumps(printable(text), ensure_ascii=False).encode()) == printable(text)
    assert len(printable(text, most)) <= most
    assert len(printable(text).splitlines()) <= 1
