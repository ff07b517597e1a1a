"""Regular expressions that take time in proportion to the text, whatever they say: safe to take from anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

MAX_PATTERN = 100
"""How many characters a pattern may have."""

MAX_STEPS = 2000
"""How many steps are remembered before all are forgotten, and worked out again."""

MAX_WORK = 10_000
"""How many places may be looked at for one text beyond what is remembered: about a millisecond."""

_Test: TypeAlias = Callable[[str], bool]

_CLASSES: dict[str, _Test] = {
    "d": str.isdecimal,
    "w": lambda one: one.isalnum() or one == "_",
    "s": str.isspace,
}
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r"}
_MATCHED = -1
"""The place where nothing is left to be found."""


class PatternError(ValueError):
    """A pattern that is not understood: why, and what would be."""


class TooMuchWork(Exception):
    """A pattern and a text that together would keep everybody else waiting."""


class _Place(NamedTuple):
    """A place in a pattern: a character is looked for there, or the start or end of the text, or nothing at all."""

    test: _Test | None
    anchor: str
    to: list[int]


class Pattern:
    r"""Literals, ``.``, ``[a-z]``, ``\d \w \s``, ``^ $``, ``( )``, ``|`` and ``* + ?``, looked for anywhere in a text.

    Every way through the pattern is followed at once, and where that leads is remembered.
    """

    def __init__(self, text: str) -> None:
        """Raise PatternError where the text is no pattern of ours."""
        if len(text) > MAX_PATTERN:
            raise PatternError(f"a pattern may have {MAX_PATTERN} characters, and this one has {len(text)}")
        self.text = text
        self._places: list[_Place] = []
        first = _Reader(text, self._places).read()
        self._begin = self._follow({first}, start=True)
        self._again = self._follow({first})
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the text; raise TooMuchWork where that would take long."""
        steps, here, work = self._steps, self._begin, 0
        for one in text:
            if _MATCHED in here:
                return True
            key = here, one
            following = steps.get(key)
            if following is None:
                if len(steps) >= MAX_STEPS:
                    steps.clear()
                following = steps[key] = self._step(here, one)
                work += len(here) + len(following)
                if work > MAX_WORK:
                    raise TooMuchWork
            here = following
        return _MATCHED in here or _MATCHED in self._follow(here, start=not text, end=True)

    def _step(self, here: frozenset[int], one: str) -> frozenset[int]:
        reached: set[int] = set()
        for number in here:
            place = self._places[number]
            if place.test is not None and place.test(one):
                reached.update(place.to)
        return self._follow(reached) | self._again  # It may begin at every character.

    def _follow(self, reached: set[int] | frozenset[int], *, start: bool = False, end: bool = False) -> frozenset[int]:
        """Every place that can be reached without a character."""
        todo, seen = list(reached), set[int]()
        while todo:
            number = todo.pop()
            if number in seen:
                continue
            seen.add(number)
            if number != _MATCHED:
                test, anchor, to = self._places[number]
                if test is None and (not anchor or (anchor == "^" and start) or (anchor == "$" and end)):
                    todo += to
        return frozenset(seen)


class _Reader:
    """Reads a pattern into places. Each part is made for the place it leads to, so the last comes first."""

    def __init__(self, text: str, places: list[_Place]) -> None:
        self._text = text
        self._at = 0
        self._places = places

    def read(self) -> int:
        make = self._choice()
        if self._at < len(self._text):
            raise PatternError(f"{self._text!r}: the ')' at character {self._at + 1} closes nothing")
        return make(_MATCHED)

    @property
    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        one = self._next
        self._at += 1
        return one

    def _choice(self) -> Callable[[int], int]:
        ways = [self._sequence()]
        while self._next == "|":
            self._take()
            ways.append(self._sequence())
        if len(ways) == 1:
            return ways[0]
        return lambda to: self._add(None, *[way(to) for way in ways])

    def _sequence(self) -> Callable[[int], int]:
        parts: list[Callable[[int], int]] = []
        while self._next not in ("", "|", ")"):
            parts.append(self._repeated())

        def make(to: int) -> int:
            for part in reversed(parts):
                to = part(to)
            return to

        return make

    def _repeated(self) -> Callable[[int], int]:
        part = self._one()
        if self._next not in ("*", "+", "?"):
            return part
        how = self._take()
        if self._next in ("*", "+", "?"):
            raise PatternError(f"{self._text!r}: nothing is there for the {self._next!r} after {how!r} to repeat")

        def make(to: int) -> int:
            if how == "?":
                return self._add(None, part(to), to)
            loop = self._add(None)
            first = part(loop)
            self._places[loop].to.extend((first, to))
            return first if how == "+" else loop

        return make

    def _one(self) -> Callable[[int], int]:
        one = self._take()
        if one == "(":
            return self._group()
        if one in "*+?":
            raise PatternError(f"{self._text!r}: nothing stands before the {one!r} at character {self._at}")
        if one in "{}":
            raise PatternError(f"{self._text!r}: counts such as {{2,3}} are not known; write \\{one} for the character")
        if one in "^$":
            return lambda to: self._add(None, to, anchor=one)
        test = (
            _anything if one == "." else self._set() if one == "[" else self._escaped() if one == "\\" else _same(one)
        )
        return lambda to: self._add(test, to)

    def _group(self) -> Callable[[int], int]:
        if self._next == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise PatternError(f"{self._text!r}: groups that begin with '(?' are not known, except for '(?:'")
            self._at += 2
        inner = self._choice()
        if self._take() != ")":
            raise PatternError(f"{self._text!r}: a '(' is not closed")
        return inner

    def _set(self) -> _Test:
        inverted = self._next == "^"
        if inverted:
            self._take()
        tests: list[_Test] = []
        while self._next != "]":
            one = self._take()
            if not one:
                raise PatternError(f"{self._text!r}: a '[' is not closed")
            literal = _ESCAPES.get(self._next, self._next) if one == "\\" else one
            if one == "\\":
                test = self._escaped()
                if self._text[self._at - 1].lower() in _CLASSES:
                    tests.append(test)
                    continue
            if self._next == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                tests.append(self._range(literal, self._last()))
            else:
                tests.append(_same(literal))
        self._take()
        if not tests:
            raise PatternError(f"{self._text!r}: a '[]' has nothing in it")
        return lambda one: any(test(one) for test in tests) != inverted

    def _last(self) -> str:
        one = self._take()
        if one != "\\":
            return one
        one = self._take()
        if one.isalnum() and one not in _ESCAPES:
            raise PatternError(f"{self._text!r}: a range cannot end with \\{one}")
        return _ESCAPES.get(one, one)

    def _range(self, first: str, last: str) -> _Test:
        if not first <= last:
            raise PatternError(f"{self._text!r}: the range {first}-{last} has its ends the wrong way round")
        return lambda one: first <= one <= last

    def _escaped(self) -> _Test:
        one = self._take()
        if not one:
            raise PatternError(f"{self._text!r}: nothing stands behind the last backslash")
        if one.lower() in _CLASSES:
            test = _CLASSES[one.lower()]
            return test if one.islower() else lambda other: not test(other)
        if one.isalnum() and one not in _ESCAPES:
            raise PatternError(f"{self._text!r}: \\{one} is not known; \\d, \\w, \\s and their capitals are")
        return _same(_ESCAPES.get(one, one))

    def _add(self, test: _Test | None, *to: int, anchor: str = "") -> int:
        self._places.append(_Place(test, anchor, list(to)))
        return len(self._places) - 1


def _anything(_: str) -> bool:
    return True


def _same(one: str) -> _Test:
    return one.__eq__
