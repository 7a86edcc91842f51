"""The paper's three categories for nouns that come without one."""

import re

from sugar.sprites import CATEGORIES, NOUNS

ANIMAL, ACTIVE_OBJECT, STATIC_OBJECT = CATEGORIES

ANIMALS = frozenset(
    """
    alligator alpaca animal ant antelope ape armadillo badger bat bear beaver bee beetle bird bison boar
    buffalo bull bunny butterfly calf camel canary cat caterpillar cattle chameleon cheetah chick chicken
    chimpanzee chipmunk cobra cow coyote crab crane cricket crocodile crow deer dog dolphin donkey dove
    dragonfly duck eagle eel elephant elk falcon ferret fish flamingo fly foal fox frog gecko gerbil
    giraffe goat goldfish goose gorilla grasshopper hamster hare hawk hedgehog hen heron hippo
    hippopotamus horse hummingbird hyena iguana insect jaguar jellyfish kangaroo kitten koala ladybug lamb
    lemur leopard lion lizard llama lobster lynx macaw meerkat mole monkey moose mouse mule newt octopus
    opossum orangutan ostrich otter owl ox panda panther parakeet parrot peacock pelican penguin pig
    pigeon pony porcupine puffin puma puppy quail rabbit raccoon ram rat raven reindeer rhino rhinoceros
    robin rooster salamander salmon scorpion seahorse seal shark sheep shrimp skunk sloth snail snake
    sparrow spider squirrel starfish stork swan tapir tiger toad tortoise toucan trout tuna turkey turtle
    vulture walrus warthog wasp weasel whale wolf wombat woodpecker worm yak zebra
    """.split()
)
ACTIVE_OBJECTS = frozenset(
    """
    airplane android bicycle bike boat bus car cartoon character doll dragon drone figure
    figurine gnome helicopter kite locomotive mascot monster motorbike motorcycle plane plush plushie
    puppet robot rocket scooter ship snowman spaceship submarine teddy toy tractor train truck unicorn van
    vehicle
    """.split()
)


def category_of(noun: str) -> str:
    """Category of a noun: of Sprite World's table, else by the words of the lists above.

    A toy animal is an active object ("stuffed animal", "toy dog"). A noun on no list is a static object: its
    motions (sliding, spinning, floating, growing) suit anything. Assumption: decision 0014.
    """
    if noun in NOUNS:
        return NOUNS[noun].category
    words = re.findall(r"[a-z]+", noun.lower())
    if "stuffed" in words or any(_is_in(word, ACTIVE_OBJECTS) for word in words):
        return ACTIVE_OBJECT
    return ANIMAL if words and _is_in(words[-1], ANIMALS) else STATIC_OBJECT


def _is_in(word: str, words: frozenset[str]) -> bool:
    return word in words or (word.endswith("s") and word[:-1] in words)
