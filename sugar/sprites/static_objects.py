"""Drawings of the static objects: household things without a face. `p` holds proportions in [-1, 1]."""

from sugar.sprites.pen import Pen, Proportions

SIDES = (-1, 1)


def draw_vase(pen: Pen, p: Proportions) -> None:
    """Bellied vase with flowers."""
    belly, neck = 0.50 * (1 + 0.25 * p.width), 0.22 * (1 + 0.3 * p.head)
    top, lip = -0.3 - 0.12 * p.height, neck + 0.12
    shoulder = 0.3 + 0.15 * p.face
    stems = ((-0.42, -0.35), (0.02, -0.62), (0.44, -0.38)) if p.extra > -0.3 else ((0.05, -0.6),)
    for x, y in stems:
        pen.stroke([(x * 0.2, top + 0.1), (x * 0.7, top + y * 0.6), (x, top + y)], 0.06, "leaf")
        size = 0.13 * (1 + 0.2 * p.limb)
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            pen.ellipse(
                x + dx * size * 0.9, top + y + dy * size * 0.9, size * 0.8, size * 0.8, "accent", 0.04
            )
        pen.ellipse(x, top + y, size * 0.7, size * 0.7, "flame", outline=0)
    profile = [(0, top - 0.02), (lip, top), (neck, top + 0.22), (belly, shoulder), (belly * 0.85, 0.66)]
    pen.vessel([*profile, (belly * 0.5, 0.95), (0, 0.97)], "pattern")
    pen.box(-lip - 0.02, top - 0.07, lip + 0.02, top + 0.06, "secondary", radius=0.06)


def draw_teapot(pen: Pen, p: Proportions) -> None:
    """Round teapot: spout to the right, handle to the left, lid with a knob."""
    w, h = 0.58 * (1 + 0.15 * p.width), 0.50 * (1 + 0.15 * p.height)
    y, handle = 0.36, 0.3 * (1 + 0.25 * p.limb)
    grip = [(-w - handle, y - 0.3), (-w - handle * 0.95, y + 0.12)]
    pen.stroke([(-w * 0.75, y - 0.3), *grip, (-w * 0.7, y + 0.24)], 0.13, "secondary")
    spout = 0.42 + 0.1 * p.face
    bend = [(w + 0.16, y + 0.06), (w + 0.14, y - 0.24)]
    pen.stroke([(w * 0.55, y + 0.22), *bend, (w + spout, y - 0.42)], 0.32, "primary", 0.13)
    pen.box(-w * 0.5, y + h - 0.12, w * 0.5, y + h + 0.08, "secondary", radius=0.07)
    pen.ellipse(0, y, w, h, "pattern")
    lid = 0.36 * (1 + 0.2 * p.head)
    pen.ellipse(0, y - h - 0.18 - 0.06 * p.extra, 0.12 + 0.03 * p.extra, 0.12, "accent")
    dome = [(0, y - h - 0.14), (lid * 0.7, y - h - 0.06), (lid, y - h + 0.1), (0, y - h + 0.14)]
    pen.vessel(dome, "secondary")


def draw_cup(pen: Pen, p: Proportions) -> None:
    """Mug with a handle, a saucer and steam."""
    top, bottom = 0.60 * (1 + 0.12 * p.width), 0.46 * (1 + 0.2 * p.head)
    rim, ring = -0.18 - 0.2 * p.height, 0.3 * (1 + 0.2 * p.limb)
    steam = 0.36 * (1 + 0.2 * p.extra)
    for x in (-0.2, 0.16):
        curl = [(x + dx, rim - 0.2 - steam * up) for dx, up in ((0, 0), (0.1, 0.4), (-0.06, 0.75), (0.04, 1))]
        pen.stroke(curl, 0.09, "white", outline=0.035)
    middle = (rim + 0.85) / 2
    grip = [(top + ring, middle - 0.22), (top + ring, middle + 0.16)]
    pen.stroke([(top * 0.9, middle - 0.22), *grip, (bottom * 1.02, middle + 0.24)], 0.14, "secondary")
    pen.ellipse(0, 0.86, 0.8 + 0.08 * p.face, 0.12, "accent")
    wall = [(top, rim), (top * 0.97, rim + 0.3), (bottom * 1.05, 0.66), (bottom * 0.75, 0.84), (0, 0.87)]
    pen.vessel(wall, "pattern")
    pen.ellipse(0, rim, top, 0.15, "light")
    pen.ellipse(0, rim + 0.02, top * 0.82, 0.09, "wood", outline=0)


def draw_backpack(pen: Pen, p: Proportions) -> None:
    """School backpack: flap, front pocket, side pockets, loop."""
    w, h = 0.56 * (1 + 0.12 * p.width), 0.72 * (1 + 0.08 * p.height)
    pocket, flap = 0.38 * (1 + 0.15 * p.head), 0.36 * (1 + 0.25 * p.face)
    pen.stroke([(-0.2, -h + 0.12), (-0.17, -h - 0.18), (0.17, -h - 0.18), (0.2, -h + 0.12)], 0.1, "accent")
    for s in SIDES:
        pen.stroke(
            [(s * w * 0.7, -h + 0.2), (s * (w + 0.2), -0.25), (s * (w + 0.16), 0.3)], 0.14, "secondary"
        )
        pen.box(s * (w + 0.02) - 0.17, 0.28 - 0.1 * p.limb, s * (w + 0.02) + 0.17, 0.84, "deep", radius=0.12)
    pen.box(-w, -h, w, 0.95, "pattern", radius=0.36)
    cover = [(w * 0.5, -h + 0.04), (w * 0.96, -h + 0.3), (w * 0.8, -h + 0.3 + flap), (0, -h + 0.4 + flap)]
    pen.vessel(cover, "primary")
    pen.box(-0.09, -h + 0.26 + flap, 0.09, -h + 0.52 + flap, "flame", radius=0.05, outline=0.04)
    low = 0.42 - 0.08 * p.extra
    pen.box(-pocket, low, pocket, 0.86, "secondary", radius=0.12)
    pen.stroke([(-pocket * 0.7, low + 0.14), (pocket * 0.7, low + 0.14)], 0.06, "accent", outline=0)


def draw_clock(pen: Pen, p: Proportions) -> None:
    """Alarm clock: two bells, a patterned rim, hands."""
    r = 0.70
    face, bell = r * (0.66 + 0.06 * p.width), 0.25 * (1 + 0.25 * p.head)
    y, leg = 0.14, 0.1 * p.height
    pen.stroke([(0, y - r), (0, y - r - 0.24)], 0.08, "metal")
    pen.ellipse(0, y - r - 0.26 - 0.04 * p.extra, 0.11, 0.09, "accent")
    for s in SIDES:
        pen.stroke([(s * 0.42, y + r * 0.75), (s * (0.6 + leg), y + r + 0.12)], 0.14, "metal")
        pen.ellipse(s * (0.5 + 0.05 * p.limb), y - r * 0.86, bell, bell * 0.78, "accent", degrees=s * 38)
    pen.ellipse(0, y, r, r, "pattern")
    pen.ellipse(0, y, face, face, "cream")
    for dx, dy in ((0, -1), (1, 0), (0, 1), (-1, 0)):
        pen.ellipse(dx * face * 0.8, y + dy * face * 0.8, 0.05, 0.05, "dark", outline=0)
    # The hands show the individual's own time.
    pen.stroke([(0, y), (0.3 * p.face, y - 0.26)], 0.08, "dark", outline=0)
    pen.stroke([(0, y), (0.3, y + 0.16 * p.extra)], 0.065, "ember", outline=0)
    pen.ellipse(0, y, 0.06, 0.06, "dark", outline=0)


def draw_lamp(pen: Pen, p: Proportions) -> None:
    """Table lamp: patterned shade, stem with a ball, base, pull cord."""
    top, bottom = 0.34 * (1 + 0.35 * p.head), 0.72 * (1 + 0.12 * p.width)
    shade = 0.08 - 0.12 * p.height
    base = 0.42 * (1 + 0.2 * p.limb)
    pen.stroke([(0, 0.0), (0, 0.85)], 0.12, "metal")
    pen.stroke([(bottom * 0.5, shade), (bottom * 0.5, shade + 0.3)], 0.035, "dark", outline=0)
    pen.ellipse(bottom * 0.5, shade + 0.32, 0.06, 0.06, "accent", outline=0.035)
    pen.ellipse(0, 0.42 + 0.08 * p.extra, 0.17 * (1 + 0.35 * p.face), 0.17, "accent")
    pen.blob(
        [(-base, 0.94), (-base * 0.6, 0.78), (0, 0.72), (base * 0.6, 0.78), (base, 0.94), (0, 0.97)],
        "secondary",
    )
    pen.ellipse(0, shade + 0.02, bottom * 0.6, 0.15, "flame")
    pen.polygon([(-top, -0.92), (top, -0.92), (bottom, shade), (-bottom, shade)], "pattern")
    pen.box(-bottom - 0.02, shade - 0.08, bottom + 0.02, shade + 0.03, "secondary", radius=0.05, outline=0.04)
    pen.box(-top - 0.02, -0.98, top + 0.02, -0.88, "secondary", radius=0.05, outline=0.04)


def draw_boot(pen: Pen, p: Proportions) -> None:
    """Winter boot pointing right: cuff, laces, thick sole."""
    shaft, toe = 0.36 * (1 + 0.18 * p.width), 0.72 * (1 + 0.15 * p.head)
    top = -0.72 - 0.15 * p.height
    x = -0.36
    instep = [(x - shaft, top), (x + shaft, top), (x + shaft, -0.1), (x + shaft + 0.25, 0.22), (toe, 0.34)]
    heel = [(toe + 0.12, 0.76), (0.1, 0.8), (x - shaft * 0.95, 0.78), (x - shaft * 1.02, 0.2)]
    pen.blob([*instep, *heel], "pattern")
    pen.blob(
        [(toe - 0.2, 0.33), (toe + 0.04, 0.42), (toe + 0.12, 0.76), (toe - 0.32, 0.78)], "secondary", 0.03
    )
    pen.box(x - shaft - 0.06, 0.72, toe + 0.16, 0.94, "deep", radius=0.09)
    pen.box(x - shaft - 0.04, 0.82, x + shaft * 0.4, 1.04 + 0.05 * p.limb, "deep", radius=0.05)
    cuff = 0.15 * (1 + 0.3 * p.extra)
    pen.box(x - shaft - 0.1, top - cuff, x + shaft + 0.1, top + cuff, "cream", radius=0.15)
    laces = 3 if p.face > 0 else 2
    for k in range(laces):
        y = -0.3 + 0.2 * k
        slope = x + shaft + 0.12 * max(0, k - 1)
        pen.stroke([(slope - 0.24, y + 0.02), (slope + 0.04, y - 0.06)], 0.08, "accent", outline=0.035)


def draw_candle(pen: Pen, p: Proportions) -> None:
    """Burning candle with wax drops on a holder with a ring."""
    w, top = 0.33 * (1 + 0.25 * p.width), -0.22 - 0.22 * p.height
    flame, dish = 0.26 * (1 + 0.2 * p.head), 0.66 * (1 + 0.12 * p.limb)
    pen.stroke(
        [(dish * 0.7, 0.72), (dish + 0.26, 0.62), (dish + 0.2, 0.9), (dish * 0.7, 0.86)], 0.1, "accent"
    )
    pen.blob([(-dish, 0.72), (dish, 0.72), (dish * 0.7, 0.94), (0, 0.96), (-dish * 0.7, 0.94)], "accent")
    pen.box(-w, top, w, 0.76, "pattern", radius=0.1)
    drop = 0.3 + 0.12 * p.face
    wax = [(-w, top - 0.04), (0, top - 0.09), (w, top - 0.04), (w * 0.98, top + 0.16)]
    drops = [
        (w * 0.45, top + drop),
        (0.0, top + 0.14),
        (-w * 0.5, top + drop * 0.75),
        (-w * 0.98, top + 0.18),
    ]
    pen.blob([*wax, *drops], "light")
    pen.stroke([(0, top - 0.06), (0.02, top - 0.2)], 0.06, "dark", outline=0)
    y, lean = top - 0.2, 0.08 * p.extra
    right = [(0, y + 0.04), (flame * 0.66, y - flame * 0.5), (flame * 0.3, y - flame * 1.25)]
    left = [(-flame * 0.35, y - flame * 1.25), (-flame * 0.66, y - flame * 0.5)]
    pen.blob([*right, (lean, y - flame * 2.1), *left], "ember")
    low, middle = y - 0.02, y - flame * 0.5
    tip = (lean * 0.5, y - flame * 1.25)
    pen.blob([(0, low), (flame * 0.36, middle), tip, (-flame * 0.36, middle)], "flame", 0)
