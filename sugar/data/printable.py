"""What users named and wrote, as it can stand in a message, a table or a JSON file."""

import unicodedata

_NOT_PRINTED = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, bytes of a file name that are not UTF-8, line and paragraph separators."""


def printable(text: str, max_length: int | None = None) -> str:
    """The text on one line, with escapes for what UTF-8 or a line cannot hold; shortened to `max_length`."""
    line = "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _NOT_PRINTED else char
        for char in (text if max_length is None else text[: max_length + 1])
    )
    return line if max_length is None or len(line) <= max_length else line[: max_length - 1] + "…"
