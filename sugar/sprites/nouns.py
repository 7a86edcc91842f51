"""The twenty-four nouns of Sprite World: a category and a drawing for each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sugar.sprites import active_objects, animals, static_objects
from sugar.sprites.pen import Pen, Proportions

CATEGORIES = ("animal", "active_object", "static_object")


class Noun(NamedTuple):
    """A kind of subject: its category and the drawing of one individual."""

    category: str
    draw: Callable[[Pen, Proportions], None]


NOUNS: Mapping[str, Noun] = {
    "cat": Noun("animal", animals.draw_cat),
    "dog": Noun("animal", animals.draw_dog),
    "rabbit": Noun("animal", animals.draw_rabbit),
    "bear": Noun("animal", animals.draw_bear),
    "bird": Noun("animal", animals.draw_bird),
    "fish": Noun("animal", animals.draw_fish),
    "turtle": Noun("animal", animals.draw_turtle),
    "frog": Noun("animal", animals.draw_frog),
    "robot": Noun("active_object", active_objects.draw_robot),
    "car": Noun("active_object", active_objects.draw_car),
    "rocket": Noun("active_object", active_objects.draw_rocket),
    "train": Noun("active_object", active_objects.draw_train),
    "boat": Noun("active_object", active_objects.draw_boat),
    "doll": Noun("active_object", active_objects.draw_doll),
    "snowman": Noun("active_object", active_objects.draw_snowman),
    "dinosaur": Noun("active_object", active_objects.draw_dinosaur),
    "vase": Noun("static_object", static_objects.draw_vase),
    "teapot": Noun("static_object", static_objects.draw_teapot),
    "cup": Noun("static_object", static_objects.draw_cup),
    "backpack": Noun("static_object", static_objects.draw_backpack),
    "clock": Noun("static_object", static_objects.draw_clock),
    "lamp": Noun("static_object", static_objects.draw_lamp),
    "boot": Noun("static_object", static_objects.draw_boot),
    "candle": Noun("static_object", static_objects.draw_candle),
}
