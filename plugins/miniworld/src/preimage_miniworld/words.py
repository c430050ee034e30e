"""The words of the mini world: how the captions name each attribute.

Grammar and parser read the same tables. Within a table the first word is the plainest one.
A text that stands in two tables, or twice in one, would make captions ambiguous; a test forbids it.
"""

__all__ = [
    "BACKGROUND_ADJECTIVES",
    "BACKGROUND_PHRASES",
    "COLOUR_WORDS",
    "MOOD_ADJECTIVES",
    "MOOD_PHRASES",
    "RELATION_PHRASES",
    "SHAPE_WORDS",
    "SIDE_PHRASES",
    "SIZE_WORDS",
    "TEXTURE_ADJECTIVES",
    "TEXTURE_PHRASES",
]

COLOUR_WORDS = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white", "ivory"),
}
SHAPE_WORDS = {
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle", "pyramid"),
    "star": ("star", "starfish"),
    "heart": ("heart", "valentine"),
    "diamond": ("diamond", "rhombus"),
    "flower": ("flower", "blossom"),
    "cross": ("cross", "plus"),
}
SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
}
TEXTURE_ADJECTIVES = {
    "solid": ("plain", "solid", "smooth"),
    "striped": ("striped", "stripy", "banded"),
    "dotted": ("dotted", "spotted", "speckled"),
}
TEXTURE_PHRASES = {
    "solid": ("with no pattern", "without marks"),
    "striped": ("with stripes", "covered in stripes"),
    "dotted": ("with dots", "covered in spots"),
}
MOOD_ADJECTIVES = {
    "happy": ("happy", "smiling", "cheerful", "joyful"),
    "sad": ("sad", "gloomy", "unhappy", "tearful"),
}
MOOD_PHRASES = {
    "happy": ("with a smile", "with a happy face", "looking cheerful"),
    "sad": ("with a frown", "with a sad face", "looking gloomy"),
}
BACKGROUND_PHRASES = {
    "meadow": ("in a meadow", "on the grass", "in a green field"),
    "night": ("at night", "under the stars", "in the dark"),
    "beach": ("on a beach", "by the sea", "on the sand"),
    "snow": ("in the snow", "in winter", "on the ice"),
}
BACKGROUND_ADJECTIVES = {
    "meadow": ("grassy", "springtime"),
    "night": ("starry", "midnight"),
    "beach": ("sandy", "seaside"),
    "snow": ("snowy", "wintry"),
}
# "first object PHRASE second object".
RELATION_PHRASES = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
}
# "first object with second object PHRASE": keyed by where the first object stands.
SIDE_PHRASES = {
    "left of": ("to its right", "on its right"),
    "right of": ("to its left", "on its left"),
    "above": ("underneath it", "further down"),
    "below": ("overhead", "higher up"),
}
