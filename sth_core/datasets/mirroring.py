"""The labels of mirrored clips: "moving left" becomes "moving right"."""

import re

OPPOSITES = {"left": "right", "clockwise": "counterclockwise"}
OPPOSITES |= {right: left for left, right in OPPOSITES.items()} | {"anticlockwise": "clockwise"}
WORDS = re.compile(rf"(?<![a-z])({'|'.join(OPPOSITES)})(?![a-z])", re.IGNORECASE)


def mirror_label(label: str) -> str:
    """The label with each word for a side replaced by its opposite."""

    def opposite(match: re.Match[str]) -> str:
        word, other = match[0], OPPOSITES[match[0].lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return WORDS.sub(opposite, label)


def mirror_labels(classes: list[str], pairs: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """The class of each class's mirrored clips; without those whose mirror image is none of the classes.

    `pairs` are further labels that a mirror exchanges.
    """
    exchanged = dict(pairs) | {b: a for a, b in pairs}
    images = {label: exchanged.get(label, mirror_label(label)) for label in classes}
    return {label: image for label, image in images.items() if image in images}


def mirror_order(classes: list[str]) -> list[int]:
    """For each class the index of its mirror image's class, or its own if that is none of the classes."""
    images = mirror_labels(classes)
    return [classes.index(images.get(label, label)) for label in classes]
