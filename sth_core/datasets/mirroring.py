"""Labels that name a side: a clip of "moving left", mirrored, moves right."""

import re

OPPOSITES = {"left": "right", "clockwise": "counterclockwise"}
OPPOSITES |= {right: left for left, right in OPPOSITES.items()} | {"anticlockwise": "clockwise"}
WORDS = re.compile(rf"(?<![a-z])({'|'.join(OPPOSITES)})(?![a-z])", re.IGNORECASE)


def mirrored(label: str) -> str:
    """The label with each word for a side replaced by its opposite: what a mirrored clip shows."""

    def opposite(match: re.Match[str]) -> str:
        word, other = match[0], OPPOSITES[match[0].lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return WORDS.sub(opposite, label)


def mirror_labels(classes: list[str], pairs: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """What each class becomes in a mirror; a class whose mirror image is none of the classes is left out.

    `pairs` are labels that a mirror exchanges although their words do not tell.
    """
    exchanged = dict(pairs) | {b: a for a, b in pairs}
    known = set(classes)
    images = {label: exchanged.get(label, mirrored(label)) for label in classes}
    return {label: image for label, image in images.items() if image in known}


def mirror_order(classes: list[str]) -> list[int]:
    """For each class the number of the class that its mirror image is; its own, if that is none of the classes."""
    images = mirror_labels(classes)
    return [classes.index(images.get(label, label)) for label in classes]
