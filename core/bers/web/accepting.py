"""What a client would like to be answered with: the header `Accept`, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Liked(NamedTuple):
    """One kind of answer, and how much it is liked, from 0 to 1."""

    media: str
    parameters: Mapping[str, str]
    weight: float


def liked(header: str) -> Sequence[Liked]:
    """Everything that is named and not refused, the best first; of what is liked the same, the first."""
    found: list[Liked] = []
    for part in header.split(","):
        media, *rest = (one.strip().lower() for one in part.split(";"))
        parameters = {name: value.strip('"') for name, _, value in (one.partition("=") for one in rest)}
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if media and weight > 0:
            found.append(Liked(media, parameters, weight))
    return sorted(found, key=lambda one: -one.weight)
