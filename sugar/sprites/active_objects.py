"""Drawings of the active objects: toys and vehicles with eyes. `p` holds proportions in [-1, 1]."""

from sugar.sprites.pen import Pen, Proportions

SIDES = (-1, 1)


def draw_robot(pen: Pen, p: Proportions) -> None:
    """Boxy robot: antenna, screen face, arms with grippers."""
    w, h = 0.42 * (1 + 0.2 * p.width), 0.34 * (1 + 0.2 * p.height)
    head_w, head_h = 0.48 * (1 + 0.18 * p.head), 0.33 * (1 + 0.12 * p.head)
    antenna = 0.2 * (1 + 0.5 * p.extra)
    hip = 0.26 + h
    pen.stroke([(0, -0.45), (0, -0.45 - head_h - antenna)], 0.06, "metal")
    pen.ellipse(0, -0.47 - head_h - antenna, 0.1, 0.1, "ember")
    for s in SIDES:
        pen.stroke([(s * w * 0.5, hip - 0.1), (s * w * 0.5, 0.85)], 0.17, "metal")
        pen.box(s * w * 0.55 - 0.17, 0.82, s * w * 0.55 + 0.17, 0.98, "deep", radius=0.08)
        reach = w + 0.26 + 0.06 * p.limb
        pen.stroke(
            [(s * w, 0.12), (s * reach, 0.2 - 0.1 * p.limb), (s * reach, 0.45 - 0.5 * p.limb)], 0.14, "metal"
        )
        pen.ellipse(s * reach, 0.47 - 0.5 * p.limb, 0.13, 0.13, "accent")
        pen.box(s * head_w - 0.09, -0.52, s * head_w + 0.09, -0.3, "accent", radius=0.05)
    pen.box(-w, -0.02, w, hip, "pattern", radius=0.1)
    pen.box(-head_w, -0.42 - head_h, head_w, -0.42 + head_h, "primary", radius=0.14)
    pen.box(
        -head_w * 0.8,
        -0.42 - head_h * 0.72,
        head_w * 0.8,
        -0.42 + head_h * 0.72,
        "glass",
        radius=0.1,
        outline=0.035,
    )
    pen.eyes(0, -0.46, head_w * 0.4, 0.14 * (1 + 0.2 * p.face))
    pen.smile(0, -0.28, 0.12, 0.05)


def draw_car(pen: Pen, p: Proportions) -> None:
    """Small car driving to the right: cabin with eyes in the window, two wheels."""
    w, roof = 0.92, 0.42 * (1 + 0.3 * p.height)
    wheel = 0.23 * (1 + 0.2 * p.limb)
    front, back = 0.34 + 0.12 * p.width, -0.50 + 0.12 * p.head
    top = [(back, -0.12 - roof), (0.0, -0.2 - roof), (front - 0.05, -0.14 - roof)]
    pen.blob([(back - 0.22, 0.05), *top, (front + 0.24, 0.05), (0.0, 0.2)], "secondary")
    pane = [(back + 0.1, -0.05 - roof), (0.0, -0.1 - roof), (front - 0.08, -0.05 - roof)]
    pen.blob([(back - 0.06, 0.0), *pane, (front + 0.1, 0.0)], "glass", 0.03)
    bonnet = [(-w, 0.1), (-w * 0.85, -0.06), (0, -0.06), (w * 0.8, 0.0), (w, 0.2)]
    pen.blob([*bonnet, (w * 0.97, 0.5), (0, 0.54), (-w * 0.97, 0.5)], "pattern")
    pen.box(-w - 0.08, 0.4, w + 0.08, 0.54, "metal", radius=0.07)
    for x in (-0.5, 0.5):
        pen.ellipse(x, 0.58, wheel, wheel, "dark")
        pen.ellipse(x, 0.58, wheel * 0.52, wheel * 0.52, "accent", outline=0)
    pen.ellipse(w * 0.9, 0.16, 0.1, 0.1, "flame")
    pen.eyes((front + back) / 2 + 0.06, -0.16 - roof * 0.4, 0.2, 0.15 * (1 + 0.2 * p.face), look=0.5)
    if p.extra > 0:
        pen.box(back, -0.3 - roof, front, -0.22 - roof, "wood", radius=0.04)


def draw_rocket(pen: Pen, p: Proportions) -> None:
    """Upright rocket: nose cone, porthole with eyes, fins, flame."""
    w, h = 0.38 * (1 + 0.22 * p.width), 0.62 * (1 + 0.12 * p.height)
    fin, flame = 0.34 * (1 + 0.35 * p.limb), 0.34 * (1 + 0.3 * p.extra)
    pen.vessel([(w * 0.5, h), (w * 0.42, h + flame * 0.6), (0, h + flame * 1.2)], "ember")
    pen.blob([(-w * 0.25, h), (0, h + flame * 0.75), (w * 0.25, h)], "flame", 0)
    for s in SIDES:
        edge = s * (w + fin)
        pen.polygon([(s * w * 0.7, h * 0.25), (edge, h * 0.85), (edge, h + 0.2), (s * w * 0.5, h)], "accent")
    top = -h - 0.42 * (1 + 0.25 * p.head)
    pen.vessel([(0, top), (w * 0.62, -h * 0.92), (w, -h * 0.2), (w * 0.95, h * 0.5), (w * 0.6, h)], "pattern")
    pen.vessel([(0, top), (w * 0.55, -h * 0.98), (w * 0.72, -h * 0.72), (0, -h * 0.78)], "secondary", 0.03)
    pen.ellipse(0, -0.14, w * 0.84, w * 0.84, "metal", outline=0.04)
    pen.ellipse(0, -0.14, w * 0.70, w * 0.70, "glass", outline=0.02)
    pen.eyes(0, -0.16, w * 0.33, w * 0.33 * (1 + 0.1 * p.face))


def draw_train(pen: Pen, p: Proportions) -> None:
    """Steam engine heading right: boiler with a face, cabin, chimney with smoke."""
    boiler, cabin = 0.32 * (1 + 0.15 * p.width), 0.50 * (1 + 0.2 * p.height)
    wheel, chimney = 0.2 * (1 + 0.15 * p.limb), 0.34 * (1 + 0.35 * p.extra)
    top = 0.38 - 2 * boiler
    for k, r in enumerate((0.11, 0.15, 0.19)):
        pen.ellipse(0.42 - 0.22 * k, top - chimney - 0.12 - 0.13 * k, r, r * 0.85, "white", outline=0.04)
    pen.polygon([(0.4, top + 0.1), (0.32, top - chimney), (0.66, top - chimney), (0.58, top + 0.1)], "accent")
    pen.ellipse(0.0, top, 0.16, 0.14, "flame")
    pen.box(-0.5, top, 0.8, 0.4, "pattern", radius=boiler * 0.6)
    pen.box(-0.95, 0.3 - 2 * cabin, -0.3, 0.42, "primary", radius=0.06)
    pen.box(-1.04, 0.2 - 2 * cabin, -0.2, 0.34 - 2 * cabin, "secondary", radius=0.06)
    pen.box(-0.8, 0.46 - 2 * cabin, -0.45, 0.8 - 2 * cabin, "glass", radius=0.06, outline=0.035)
    pen.box(-1.0, 0.36, 0.86, 0.54, "deep", radius=0.06)
    pen.polygon([(0.8, 0.42), (1.08, 0.84), (0.76, 0.84)], "metal")
    for x in (-0.66, -0.12, 0.42):
        pen.ellipse(x, 0.66, wheel, wheel, "secondary")
        pen.ellipse(x, 0.66, wheel * 0.45, wheel * 0.45, "dark", outline=0)
    pen.eyes(0.5, 0.36 - boiler * 1.15, 0.18, 0.15 * (1 + 0.2 * p.face), look=0.4)
    pen.smile(0.52, 0.42 - boiler * 0.75, 0.12, 0.06)


def draw_boat(pen: Pen, p: Proportions) -> None:
    """Sailing boat: patterned sail, hull with eyes, flag, a wave."""
    mast, sail = 1.0 + 0.1 * p.height, 0.72 * (1 + 0.15 * p.width)
    hull = 0.44 * (1 + 0.2 * p.head)
    x = -0.06 + 0.1 * p.extra
    pen.stroke([(x, 0.35), (x, -mast)], 0.08, "wood")
    pen.polygon([(x, -mast - 0.02), (x + 0.34, -mast + 0.11), (x, -mast + 0.24)], "ember")
    pen.blob(
        [(x + 0.1, 0.22), (x + 0.08, -mast + 0.32), (x + sail * 0.55, -0.3), (x + sail, 0.18)], "pattern"
    )
    left = 0.52 * (1 + 0.25 * p.limb)
    pen.blob(
        [(x - 0.1, 0.22), (x - 0.09, -mast + 0.48), (x - left * 0.6, -0.2), (x - left, 0.18)], "secondary"
    )
    pen.polygon(
        [(-0.95, 0.32), (0.95, 0.32), (0.66, 0.34 + hull * 1.2), (-0.62, 0.34 + hull * 1.2)], "primary"
    )
    pen.polygon([(-0.95, 0.32), (0.95, 0.32), (0.9, 0.42), (-0.9, 0.42)], "accent", 0)
    pen.eyes(0.34, 0.32 + hull * 0.52, 0.18, 0.14 * (1 + 0.2 * p.face), look=0.5)
    pen.smile(0.36, 0.36 + hull * 0.92, 0.1, 0.05)


def draw_doll(pen: Pen, p: Proportions) -> None:
    """Rag doll: round head, hair with bunches, patterned dress."""
    dress, head = 0.58 * (1 + 0.25 * p.width), 0.46 * (1 + 0.12 * p.head)
    bunch, arm = 0.2 * (1 + 0.4 * p.extra), 0.34 * (1 + 0.2 * p.limb)
    for s in SIDES:
        pen.stroke([(s * 0.2, 0.6), (s * 0.2, 0.9)], 0.15, "cream")
        pen.ellipse(s * 0.22, 0.95, 0.16, 0.09, "accent")
        pen.stroke([(s * 0.18, 0.14), (s * (0.3 + arm), 0.34 - 0.25 * p.limb)], 0.15, "cream")
        pen.ellipse(s * (head + bunch * 0.6), -0.42 + bunch, bunch, bunch * 1.3, "secondary")
    hem = 0.72 + 0.08 * p.height
    pen.vessel([(0.16, 0.02), (dress * 0.62, hem * 0.6), (dress, hem), (0, hem + 0.06)], "pattern")
    pen.ellipse(0, -0.46, head * 1.1, head * 1.06, "secondary")
    pen.ellipse(0, -0.36, head * 0.92, head * 0.82, "cream", outline=0)
    crown = [(-head * 0.6, -0.5 - head * 0.75), (head * 0.6, -0.5 - head * 0.75), (head * 0.98, -0.42)]
    fringe = [(head * 0.3, -0.36 - head * 0.5), (-head * 0.5, -0.34 - head * 0.4)]
    pen.blob([(-head * 0.98, -0.42), *crown, *fringe], "secondary", 0)
    for s in SIDES:
        pen.ellipse(s * head * 0.62, -0.18, 0.09, 0.065, "blush", outline=0)
        pen.polygon([(0, 0.05), (s * 0.2, -0.04), (s * 0.2, 0.16)], "accent", 0.035)
    pen.eyes(0, -0.32, head * 0.4, 0.13 * (1 + 0.2 * p.face))
    pen.smile(0, -0.15, 0.1, 0.06)


def draw_snowman(pen: Pen, p: Proportions) -> None:
    """Snowman of two tinted balls: top hat, scarf, carrot nose, stick arms."""
    base, head = 0.56 * (1 + 0.12 * p.width), 0.40 * (1 + 0.12 * p.head)
    hat, arm = 0.36 * (1 + 0.35 * p.extra), 0.38 * (1 + 0.2 * p.limb)
    y = -0.28 - 0.05 * p.height
    for s in SIDES:
        hand = (s * (base + arm), 0.05 - 0.2 * p.limb)
        pen.stroke([(s * base * 0.7, 0.3), hand], 0.07, "wood")
        pen.stroke([(s * (base + arm * 0.6), 0.12 - 0.1 * p.limb), (hand[0] - s * 0.02, 0.24)], 0.05, "wood")
    pen.ellipse(0, 0.44, base, base * 0.94, "pattern")
    pen.ellipse(0, y, head, head * 0.95, "light")
    pen.stroke([(0.2, 0.1), (0.32, 0.46)], 0.18, "accent")
    pen.box(-head * 0.85, 0.0, head * 0.85, 0.18, "accent", radius=0.08)
    for k in range(2):
        pen.ellipse(0, 0.42 + 0.24 * k, 0.065, 0.065, "dark", outline=0)
    brim = y - head * 0.62
    pen.box(-head * 0.66, brim - hat, head * 0.66, brim, "deep", radius=0.06)
    pen.box(-head * 0.66, brim - 0.16, head * 0.66, brim - 0.02, "secondary", radius=0.02, outline=0)
    pen.box(-head * 1.1, brim - 0.04, head * 1.1, brim + 0.08, "deep", radius=0.06)
    pen.eyes(0, y - 0.02, head * 0.42, 0.12 * (1 + 0.2 * p.face))
    pen.polygon([(-0.03, y + 0.06), (0.36 + 0.08 * p.face, y + 0.15), (-0.03, y + 0.2)], "ember", 0.035)


def draw_dinosaur(pen: Pen, p: Proportions) -> None:
    """Toy dinosaur looking right: big head, plates along the back, thick tail."""
    w, head = 0.46 * (1 + 0.18 * p.width), 0.40 * (1 + 0.12 * p.head)
    tail, plate = 0.55 * (1 + 0.2 * p.extra), 0.2 * (1 + 0.4 * p.limb)
    neck = -0.45 - 0.08 * p.height
    spine = [(-0.2, neck - 0.28), (-0.42, neck + 0.1), (-0.5, 0.05), (-0.66, 0.36), (-0.92, 0.6)]
    for x, y in spine:
        pen.polygon(
            [(x - 0.02, y - 0.16), (x - plate * 1.1, y - plate * 0.6), (x + 0.12, y + 0.14)], "accent"
        )
    tip = [(-0.55 - tail, 0.62), (-0.6 - tail, 0.78)]
    pen.blob([(-0.1, 0.15), (-0.55, 0.42), *tip, (-0.3, 0.86), (0.1, 0.7)], "pattern")
    chest = [(-0.3, neck - 0.05), (0.2, neck), (0.34, 0.1), (w * 0.95, 0.5)]
    pen.blob([*chest, (0.2, 0.84), (-w, 0.62), (-0.48, 0.05)], "pattern")
    pen.blob([(0.2, -0.1), (0.33, 0.2), (0.36, 0.5), (0.18, 0.72), (0.04, 0.4), (0.08, 0.1)], "light", 0)
    for x in (-0.24, 0.26):
        pen.stroke([(x, 0.62), (x, 0.86)], 0.27, "primary")
        pen.ellipse(x + 0.06, 0.93, 0.2, 0.09, "primary")
    skull = [(-0.36, neck - 0.12), (-0.1, neck - head), (0.35, neck - head * 0.8)]
    jaw = [(0.62, neck + head * 0.48), (0.1, neck + head * 0.58), (-0.3, neck + 0.2)]
    pen.blob([*skull, (0.72 + 0.1 * p.face, neck - 0.12), *jaw], "primary")
    pen.stroke([(0.28, 0.16), (0.52, 0.2), (0.54, 0.32)], 0.12, "primary")
    pen.eye(0.12, neck - head * 0.32, 0.18 * (1 + 0.15 * p.face), look=0.6)
    pen.stroke([(0.2, neck + 0.14), (0.42, neck + 0.2), (0.64, neck + 0.08)], 0.05, "dark", outline=0)
    pen.ellipse(0.6, neck - 0.14, 0.04, 0.04, "dark", outline=0)
    pen.ellipse(-0.04, neck + 0.12, 0.09, 0.06, "blush", outline=0)
