"""Drawings of the animals. `p` holds the individual's proportions, each in [-1, 1]."""

from sugar.sprites.pen import Pen, Proportions

SIDES = (-1, 1)


def draw_cat(pen: Pen, p: Proportions) -> None:
    """Sitting cat: pointed ears, whiskers, curled tail."""
    w, h = 0.42 * (1 + 0.2 * p.width), 0.42 * (1 + 0.15 * p.height)
    head_w, head_h = 0.60 * (1 + 0.12 * p.head), 0.47 * (1 + 0.12 * p.head)
    ear = 0.30 * (1 + 0.35 * p.extra)
    pen.stroke([(0.2, 0.82), (0.72, 0.78), (0.84, 0.42), (0.74 + 0.1 * p.limb, 0.12)], 0.17, "primary", 0.15)
    pen.ellipse(0, 0.52, w, h, "pattern")
    pen.ellipse(0, 0.62, w * 0.5, h * 0.55, "light", outline=0)
    for s in SIDES:
        pen.ellipse(s * 0.2, 0.9, 0.17 + 0.03 * p.limb, 0.1, "light")
        tip = (s * head_w * 0.95, -0.52 - head_h * 0.45 - ear)
        pen.polygon([(s * head_w * 0.98, -0.28), tip, (s * head_w * 0.12, -0.2 - head_h * 0.8)], "primary")
        pen.polygon(
            [(s * head_w * 0.82, -0.42), (tip[0] * 0.93, tip[1] + 0.16), (s * head_w * 0.35, -0.55)],
            "blush",
            0,
        )
    pen.ellipse(0, -0.22, head_w, head_h, "pattern")
    pen.ellipse(0, 0.0, head_w * 0.42, head_h * 0.38, "light", outline=0)
    pen.eyes(0, -0.28, head_w * (0.46 + 0.06 * p.face), 0.17 * (1 + 0.2 * p.face))
    pen.ellipse(0, -0.08, 0.075, 0.055, "accent", outline=0)
    for s in SIDES:
        pen.smile(s * 0.075, 0.02, 0.075, 0.06)
        pen.stroke([(s * head_w * 0.6, 0.0), (s * (head_w + 0.2), -0.05)], 0.035, "dark", outline=0)
        pen.stroke([(s * head_w * 0.6, 0.07), (s * (head_w + 0.18), 0.11)], 0.035, "dark", outline=0)


def draw_dog(pen: Pen, p: Proportions) -> None:
    """Sitting dog: hanging ears, muzzle, tongue, collar."""
    w, h = 0.44 * (1 + 0.2 * p.width), 0.42 * (1 + 0.15 * p.height)
    head_w, head_h = 0.52 * (1 + 0.12 * p.head), 0.50 * (1 + 0.12 * p.head)
    ear = 0.42 * (1 + 0.4 * p.extra)
    pen.stroke([(w * 0.6, 0.75), (0.72, 0.6), (0.8 + 0.08 * p.limb, 0.25)], 0.16, "secondary", 0.1)
    pen.ellipse(0, 0.52, w, h, "pattern")
    for s in SIDES:
        pen.ellipse(s * w * 0.62, 0.88, 0.19 + 0.03 * p.limb, 0.11, "light")
    pen.ellipse(0, -0.25, head_w, head_h, "pattern")
    pen.box(-0.28, 0.19, 0.28, 0.31, "accent", radius=0.06)
    pen.ellipse(0, 0.36, 0.09, 0.09, "flame")
    for s in SIDES:
        x, y = s * head_w * 0.86, -0.52
        pen.blob(
            [
                (x - s * 0.2, y - 0.12),
                (x + s * 0.14, y - 0.02),
                (x + s * 0.28, y + ear * 0.8),
                (x + s * 0.12, y + ear * 1.25),
                (x - s * 0.06, y + ear * 0.75),
            ],
            "secondary",
        )
    muzzle = 0.29 * (1 + 0.2 * p.face)
    pen.blob([(-0.09, 0.05), (0.09, 0.05), (0.1, 0.25), (0, 0.31), (-0.1, 0.25)], "blush", 0.035)
    pen.ellipse(0, -0.04, muzzle, 0.19, "light")
    pen.eyes(0, -0.36, head_w * 0.40, 0.155 * (1 - 0.15 * p.face))
    pen.ellipse(0, -0.14, 0.13, 0.09, "dark", outline=0)
    pen.smile(0, 0.02, 0.13, 0.05)


def draw_rabbit(pen: Pen, p: Proportions) -> None:
    """Standing rabbit: two long ears, cheeks, front teeth."""
    w, h = 0.38 * (1 + 0.2 * p.width), 0.38 * (1 + 0.12 * p.height)
    head_w, head_h = 0.48 * (1 + 0.12 * p.head), 0.40 * (1 + 0.12 * p.head)
    ear, lean = 0.43 * (1 + 0.2 * p.extra), 14 + 12 * p.limb
    pen.ellipse(w + 0.05, 0.7, 0.17, 0.17, "white")
    pen.ellipse(0, 0.56, w, h, "pattern")
    pen.ellipse(0, 0.62, w * 0.55, h * 0.6, "light", outline=0)
    for s in SIDES:
        pen.ellipse(s * 0.23, 0.92, 0.22, 0.1, "light")
        x, y = s * (0.2 + 0.008 * lean), -0.42 - ear * 0.85
        pen.ellipse(x, y, 0.16, ear, "primary", degrees=s * lean)
        pen.ellipse(x, y + 0.04, 0.075, ear * 0.72, "blush", outline=0, degrees=s * lean)
    pen.ellipse(0, -0.1, head_w, head_h, "pattern")
    for s in SIDES:
        pen.ellipse(s * head_w * 0.66, 0.06, 0.1, 0.07, "blush", outline=0)
        pen.stroke([(s * 0.2, 0.42), (s * 0.06, 0.52)], 0.16, "primary")
    pen.box(-0.07, 0.08, 0.07, 0.2, "white", radius=0.03, outline=0.03)
    pen.ellipse(0, 0.06, 0.16, 0.09, "light", outline=0)
    pen.eyes(0, -0.15, head_w * (0.45 + 0.07 * p.face), 0.145 * (1 + 0.2 * p.face))
    pen.ellipse(0, 0.01, 0.07, 0.05, "accent", outline=0)


def draw_bear(pen: Pen, p: Proportions) -> None:
    """Teddy-like bear: round ears, round belly, arms and feet to the side."""
    w, h = 0.52 * (1 + 0.18 * p.width), 0.48 * (1 + 0.12 * p.height)
    head_w, head_h = 0.50 * (1 + 0.12 * p.head), 0.43 * (1 + 0.12 * p.head)
    ear, arm = 0.19 * (1 + 0.3 * p.extra), 0.22 * (1 + 0.3 * p.limb)
    for s in SIDES:
        pen.stroke([(s * w * 0.7, 0.25), (s * (w + arm), 0.38 - 0.25 * p.limb)], 0.27, "primary", 0.24)
        pen.ellipse(s * head_w * 0.78, -0.42 - head_h * 0.62, ear, ear, "primary")
        pen.ellipse(s * head_w * 0.78, -0.42 - head_h * 0.62, ear * 0.5, ear * 0.5, "blush", outline=0)
    pen.ellipse(0, 0.42, w, h, "pattern")
    pen.ellipse(0, 0.5, w * 0.55, h * 0.6, "light", outline=0.03)
    for s in SIDES:
        pen.ellipse(s * w * 0.72, 0.86, 0.22, 0.17, "primary")
        pen.ellipse(s * w * 0.72, 0.88, 0.12, 0.09, "light", outline=0)
    pen.ellipse(0, -0.38, head_w, head_h, "pattern")
    pen.ellipse(0, -0.22, 0.23 * (1 + 0.2 * p.face), 0.17, "light", outline=0.03)
    pen.eyes(0, -0.46, head_w * 0.44, 0.125 * (1 + 0.25 * p.face))
    pen.ellipse(0, -0.28, 0.1, 0.07, "dark", outline=0)
    pen.smile(0, -0.17, 0.1, 0.06)


def draw_bird(pen: Pen, p: Proportions) -> None:
    """Plump bird looking right: beak, wing, crest, thin legs."""
    w, h = 0.60 * (1 + 0.15 * p.width), 0.60 * (1 + 0.12 * p.height)
    tail, crest = 0.35 * (1 + 0.5 * p.extra), 0.26 * (1 + 0.5 * p.head)
    for x in (-0.12, 0.18):
        pen.stroke([(x, 0.5), (x, 0.88)], 0.06, "flame")
        pen.stroke([(x - 0.1, 0.92), (x + 0.16, 0.92)], 0.07, "flame")
    pen.blob(
        [
            (-w * 0.6, 0.2),
            (-w - tail, -0.12),
            (-w - tail - 0.1, 0.12),
            (-w - tail + 0.05, 0.34),
            (-w * 0.5, 0.48),
        ],
        "secondary",
    )
    for k in range(3):
        x = 0.06 + 0.14 * k
        pen.stroke([(x, -0.3 - h * 0.5), (x - 0.1 + 0.06 * k, -0.26 - h * 0.75 - crest)], 0.1, "accent", 0.08)
    pen.polygon([(w * 0.75, -0.28), (w + 0.38 + 0.1 * p.face, -0.1), (w * 0.75, 0.06)], "flame")
    pen.blob(
        [
            (0.12, -0.3 - h * 0.72),
            (w * 0.9, -0.3),
            (w * 0.95, 0.1),
            (0.1, h * 0.9 + 0.06),
            (-w * 0.8, 0.42),
            (-w, 0.06),
            (-w * 0.5, -0.42),
        ],
        "pattern",
    )
    pen.ellipse(w * 0.35, 0.3, w * 0.42, 0.26, "light", outline=0)
    wing = 0.36 * (1 + 0.25 * p.limb)
    pen.blob([(0.1, 0.0), (-wing, -0.06), (-wing - 0.3, 0.28), (-wing * 0.6, 0.36), (0.02, 0.3)], "secondary")
    pen.eye(w * 0.45, -0.3, 0.2 * (1 + 0.15 * p.face), look=0.6)
    pen.ellipse(w * 0.4, 0.0, 0.09, 0.06, "blush", outline=0)


def draw_fish(pen: Pen, p: Proportions) -> None:
    """Round fish swimming to the right: tail fan, fins, bubble-blowing mouth."""
    w, h = 0.68 * (1 + 0.12 * p.width), 0.50 * (1 + 0.25 * p.height)
    tail, fin = 0.36 * (1 + 0.3 * p.extra), 0.30 * (1 + 0.45 * p.limb)
    pen.blob(
        [
            (-w * 0.6, 0.02),
            (-w - tail * 0.6, -tail * 1.15),
            (-w - tail, -tail * 0.9),
            (-w - tail * 0.55, 0.0),
            (-w - tail, tail * 0.9),
            (-w - tail * 0.6, tail * 1.15),
        ],
        "secondary",
    )
    pen.blob([(0.35, -h * 0.7), (-0.05, -h - fin), (-0.5, -h - fin * 0.7), (-0.5, -h * 0.5)], "accent")
    pen.blob([(0.15, h * 0.7), (-0.1, h + fin * 0.9), (-0.4, h + fin * 0.6), (-0.35, h * 0.6)], "accent")
    back = [(w, 0.02), (w * 0.55, -h * 0.85), (-0.1, -h), (-w * 0.8, -h * 0.25)]
    pen.blob([*back, (-w * 0.8, h * 0.25), (-0.1, h), (w * 0.55, h * 0.85)], "pattern")
    brow = [(w * 0.95, 0.0), (w * 0.6, -h * 0.72), (w * 0.34, -h * 0.5)]
    pen.blob([*brow, (w * 0.28, 0.1), (w * 0.38, h * 0.6), (w * 0.65, h * 0.68)], "light", 0)
    pen.eye(w * 0.56, -h * 0.2, 0.2 * (1 + 0.2 * p.face), look=0.5)
    pen.ellipse(w * 0.5, h * 0.34, 0.1, 0.06, "blush", outline=0)
    pen.ellipse(w * 0.98, h * 0.2, 0.07, 0.09, "accent", outline=0.035)
    pen.blob([(-0.02, 0.02), (-0.34 - 0.1 * p.limb, 0.0), (-0.42, 0.22), (-0.2, 0.26)], "secondary", 0.04)


def draw_turtle(pen: Pen, p: Proportions) -> None:
    """Turtle walking to the right under a high patterned shell."""
    w, h = 0.70 * (1 + 0.1 * p.width), 0.78 * (1 + 0.2 * p.height)
    head = 0.27 * (1 + 0.15 * p.head)
    leg = 0.24 * (1 + 0.25 * p.limb)
    pen.blob([(-w * 0.8, 0.4), (-w - 0.3 - 0.08 * p.extra, 0.55), (-w * 0.8, 0.58)], "leaf")
    for x in (-0.48, 0.38):
        pen.stroke([(x, 0.45), (x, 0.58 + leg)], 0.28, "leaf", 0.3)
    pen.stroke([(w * 0.7, 0.4), (w + 0.14, 0.22), (w + 0.2, -0.05)], 0.26, "leaf")
    pen.ellipse(w + 0.24, -0.16, head * 1.1, head, "leaf")
    pen.vessel([(w * 0.45, 0.32 - h), (w * 0.9, 0.0), (w, 0.48), (0, 0.54)], "pattern")
    pen.box(-w - 0.08, 0.38, w + 0.06, 0.56, "secondary", radius=0.09)
    pen.eye(w + 0.3, -0.22, 0.15 * (1 + 0.2 * p.face), look=0.6)
    pen.smile(w + 0.36, -0.01, 0.1, 0.05)
    pen.ellipse(w + 0.12, -0.06, 0.06, 0.045, "blush", outline=0)


def draw_frog(pen: Pen, p: Proportions) -> None:
    """Squatting frog: eyes on top of a wide head, wide mouth, splayed feet."""
    w, h = 0.56 * (1 + 0.18 * p.width), 0.42 * (1 + 0.15 * p.height)
    head_w, head_h = 0.68 * (1 + 0.1 * p.head), 0.38 * (1 + 0.15 * p.head)
    thigh = 0.26 * (1 + 0.2 * p.limb)
    for s in SIDES:
        pen.ellipse(s * (w + 0.1), 0.48, thigh, thigh * 1.15, "primary", degrees=s * 30)
        pen.stroke([(s * (w - 0.05), 0.8), (s * (w + 0.36), 0.84)], 0.15, "accent", 0.19)
    pen.ellipse(0, 0.42, w, h, "pattern")
    pen.ellipse(0, 0.48, w * 0.6, h * 0.7, "light", outline=0)
    for s in SIDES:
        pen.stroke([(s * w * 0.52, 0.42), (s * w * 0.48, 0.8)], 0.16, "primary")
        pen.stroke([(s * w * 0.3, 0.86), (s * w * 0.75, 0.86)], 0.13, "accent")
        pen.ellipse(s * head_w * 0.55, -0.2 - head_h * 0.85, 0.27, 0.25, "primary")
    pen.ellipse(0, -0.12, head_w, head_h, "pattern")
    pen.ellipse(0, 0.08, head_w * 0.72, head_h * 0.42, "light", outline=0)
    for s in SIDES:
        pen.eye(s * head_w * 0.55, -0.22 - head_h * 0.85, 0.19 * (1 + 0.12 * p.face))
        pen.ellipse(s * head_w * 0.74, 0.0, 0.1, 0.07, "blush", outline=0)
    pen.smile(0, 0.02, head_w * (0.5 + 0.12 * p.extra), 0.14)
