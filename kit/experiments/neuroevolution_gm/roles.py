"""What each net is in the study, how tasks call it, and what readers see.

A role decides how a net is made. Its word stands in the keys of tasks and in the seed of a child,
so that another word would mean to compute all anew. Its label is for readers, and may change.
"""

from __future__ import annotations

from typing import NamedTuple


class Role(NamedTuple):
    """What a net is: its part in the study, and its number among several of one part."""

    part: str
    number: int = 0


REFERENCE = Role("reference")
RETRAINED = Role("retrained")  # the reference's architecture, trained without GM once more
MISALIGNED = Role("misaligned")  # the reference's architecture, trained with GM
HAND_ENGINEERED = Role("hand-engineered")
BEST, SECOND = Role("evolved", 1), Role("evolved", 2)
RANDOM = Role("random")  # the best of the random architectures
PLAIN = (REFERENCE, RETRAINED)  # trained without GM
COMPARED = (*PLAIN, MISALIGNED, HAND_ENGINEERED, BEST, SECOND, RANDOM)
FILTERED = (Role("jpeg"), Role("bilateral"))  # the reference behind a filter
HARDENED = (Role("free"), Role("fast"))  # the reference's architecture, trained adversarially
DEFENDED = (*FILTERED, *HARDENED)

_WORDS = {
    "reference": "Ref", "retrained": "Ref retrained", "misaligned": "Ref+GM",
    "hand-engineered": "HE+GM", "evolved": "NE+GM", "random": "Random+GM",
    "jpeg": "Ref, JPEG", "bilateral": "Ref, bilateral", "free": "Ref, free AT",
    "fast": "Ref, fast AT", "child": "child", "drawn": "random", "again": "random, once more,",
    "finalist": "finalist", "drawn finalist": "random finalist",
}  # fmt: skip
LABELS = {
    "reference": "Ref", "retrained": "Ref retrained", "misaligned": "Ref+GM",
    "hand-engineered": "HE+GM", "evolved": "NE+GM", "random": "Random+GM",
    "jpeg": "JPEG", "bilateral": "bilateral", "free": "free AT", "fast": "fast AT",
}  # fmt: skip


def word(role: Role) -> str:
    """How tasks call a net; one that only makes examples goes by its architecture's name.

    Examples
    --------
    >>> word(BEST), word(Role("child", 3)), word(Role("lenet5"))
    ('NE+GM 1', 'child 3', 'lenet5')
    """
    return _numbered(_WORDS.get(role.part, role.part), role)


def label(role: Role) -> str:
    """How readers see a net.

    Examples
    --------
    >>> label(BEST), label(DEFENDED[0])
    ('NE+GM 1', 'Ref, JPEG')
    """
    text = LABELS[role.part]
    return f"{LABELS['reference']}, {text}" if role in DEFENDED else _numbered(text, role)


def _numbered(text: str, role: Role) -> str:
    return f"{text} {role.number}" if role.number else text
