"""Pictures of pictures: a labelled grid, and a film strip of a video. For reports, logs and the eye."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (52, 56, 66)
CHECKER = (225, 229, 236)
GAP_PX = 8
FONT_PX = 12
LINE_PX = 15


def film_strip(frames_THWC: np.ndarray, num_frames: int = 5, gap_px: int = 2) -> np.ndarray:
    """Evenly chosen frames of a video side by side.

    Args:
        frames_THWC: uint8 `[T, H, W, 3]`.
        num_frames: how many to show; all of them when the video has fewer.

    Returns:
        uint8 `[H, num_frames * W + gaps, 3]`.
    """
    chosen = np.linspace(0, len(frames_THWC) - 1, min(num_frames, len(frames_THWC))).round().astype(int)
    gap = np.full((frames_THWC.shape[1], gap_px, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for index in chosen:
        parts += [frames_THWC[index], gap]
    return np.concatenate(parts[:-1], axis=1)


def contact_sheet(
    pictures: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    columns: int = 6,
    scale: float = 1.0,
) -> np.ndarray:
    """A labelled grid of pictures on white; transparent ones lie on a checkerboard.

    Args:
        pictures: uint8, each a picture `[H, W, 3|4]` or a video `[T, H, W, 3]` (shown as a film strip).
        labels: a line or two under each picture; wrapped and cut to the width of its cell.
        columns: pictures in a row.
        scale: factor on the size of the pictures; whole factors keep pixels crisp.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        ValueError: no pictures, another number of labels, or a picture of another shape or type.
    """
    if not pictures:
        raise ValueError("contact_sheet needs at least one picture, got 0")
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(
            f"contact_sheet needs a label for each picture, got {len(labels)} for {len(pictures)}"
        )
    tiles = [_tile(picture, scale) for picture in pictures]
    columns = min(columns, len(tiles))
    cell_width = max(tile.width for tile in tiles)
    text = [_wrapped(label, cell_width) for label in labels or [""] * len(tiles)]
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    heights = [max(tiles[i].height + LINE_PX * len(text[i]) for i in row) for row in rows]
    sheet = Image.new(
        "RGB",
        (columns * (cell_width + GAP_PX) + GAP_PX, sum(heights) + GAP_PX * (len(rows) + 1)),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    top = GAP_PX
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = GAP_PX + column * (cell_width + GAP_PX)
            sheet.paste(tiles[i], (left, top))
            for line, words in enumerate(text[i]):
                at = (left, top + tiles[i].height + 2 + line * LINE_PX)
                draw.text(at, words, fill=INK, font=_font())
        top += height + GAP_PX
    return np.asarray(sheet)


@lru_cache(maxsize=1)
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(FONT_PX)


def _tile(picture: np.ndarray, scale: float) -> Image.Image:
    if picture.dtype != np.uint8 or picture.ndim not in (3, 4) or picture.shape[-1] not in (3, 4):
        raise ValueError(
            "contact_sheet takes uint8 [H, W, 3|4] or [T, H, W, 3], "
            f"got {picture.dtype} {list(picture.shape)}"
        )
    if picture.ndim == 4:
        picture = film_strip(picture)
    if picture.shape[-1] == 4:
        picture = on_checkerboard(picture)
    image = Image.fromarray(picture)
    if scale == 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    whole = float(scale).is_integer()
    return image.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def on_checkerboard(rgba: np.ndarray, square_px: int = 8) -> np.ndarray:
    """A cut-out, uint8 `[H, W, 4]`, over the grey squares that say "transparent": uint8 `[H, W, 3]`."""
    rows, columns = np.indices(rgba.shape[:2]) // square_px
    board = np.where(((rows + columns) % 2 == 0)[..., None], PAPER, CHECKER)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return (rgba[..., :3] * alpha + board * (1 - alpha)).round().astype(np.uint8)


def _wrapped(label: str, width_px: int, max_lines: int = 3) -> list[str]:
    """Words laid into lines that fit; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    words = label.split()
    while words and len(lines) < max_lines:
        line = words.pop(0)
        while words and _font().getlength(f"{line} {words[0]}") <= width_px:
            line += " " + words.pop(0)
        lines.append(line)
    if words:
        lines[-1] += " ..."
    return [_cut(line, width_px) for line in lines]


def _cut(line: str, width_px: int) -> str:
    if _font().getlength(line) <= width_px:
        return line
    line = line.removesuffix(" ...")
    while len(line) > 1 and _font().getlength(line + "...") > width_px:
        line = line[:-1]
    return line.rstrip() + "..."
