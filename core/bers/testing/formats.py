"""What every format promises, as assertions: whatever is sent, it reads it or says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from anyio.lowlevel import checkpoint

from bers.decoding import Decoder
from bers.errors import Refused
from bers.formats import AnyFormat, Delivery
from bers.stages import AnySpec, Context
from bers.testing.steps import step

MUTANTS = 2_000
"""How many requests are made of one at most."""

_OTHERS: Sequence[Any] = (None, True, -1, 1e300, "", "x", [], [None], ["x"], {}, {"x": None})
_BODIES = (b"", b"\0", b"null", b"7", b'"x"', b"[]", b"[null]", b"{}", b"{", b"[" * 100_000, b"\xff\xfe{", b"a=b&c")


async def check_format(
    spec: AnySpec,
    name: str,
    *deliveries: Delivery,
    context: Context | None = None,
    sign: Callable[[Delivery], Delivery] | None = None,
    **options: object,
) -> list[Mapping[str, Any]]:
    """Assert what every format promises; return the documents that it makes of the deliveries, which are all good.

    Each is verified and read, and an intake would take what it says. Then so are thousands that are made of them: cut
    off, and with each of their values replaced by another, down to a body that is none at all. A format may read
    them, raise ValueError or Refused, and nothing else. ``sign`` makes one that was changed believable again, where the
    body is read while it is verified.
    """
    format = next((one for one in spec.formats if one.name == name), None)
    assert format, f"{spec.name} offers no format {name!r}, but {[one.name for one in spec.formats]}"
    documents: list[Mapping[str, Any]] = []
    async with step(spec, context=context, **options).open() as stage:
        for delivery in deliveries:
            if format.verify:
                format.verify(stage, delivery)
            found = await _read(format, stage, delivery)
            wrong = [one for one in found if isinstance(one, ValueError)]
            assert not wrong, f"{name} says of a good delivery: {wrong[0]}"
            documents += [one for one in found if not isinstance(one, ValueError)]
        decoded = await Decoder().read(documents, now=0.0, size=0)
        assert not decoded.rejected, f"an intake would not take what {name} says: {decoded.rejected[0]}"
        for delivery in deliveries:
            for mutant in _mutants(delivery):
                await _survives(format, stage, sign(mutant) if sign else mutant)
    return documents


async def _survives(format: AnyFormat, stage: Any, delivery: Delivery) -> None:
    """Assert that a format either reads a delivery or says what is wrong with it."""
    try:
        if format.verify:
            format.verify(stage, delivery)
    except Refused:
        pass
    except (Exception, SystemExit) as exc:
        raise AssertionError(f"{format.name}.verify {_raises(exc, delivery)}; raise Refused") from exc
    try:
        # What it says may be no event: that is found by whoever reads documents, and told event by event.
        await Decoder().read(await _read(format, stage, delivery), now=delivery.now, size=len(delivery.body))
    except (ValueError, Refused):
        pass
    except (Exception, SystemExit) as exc:
        raise AssertionError(f"{format.name}.decode {_raises(exc, delivery)}; raise ValueError or Refused") from exc


def _raises(exc: BaseException, delivery: Delivery) -> str:
    return f"raises {exc!r} for {delivery.body[:200]!r}"


async def _read(format: AnyFormat, stage: Any, delivery: Delivery) -> list[Mapping[str, Any] | ValueError]:
    found = format.decode(stage, delivery)
    documents = await found if isinstance(found, Awaitable) else found
    await checkpoint()
    return [one for one in documents if one is not None]


def _mutants(delivery: Delivery) -> Iterator[Delivery]:
    body = delivery.body
    for other in _BODIES:
        yield delivery._replace(body=other)
    for part in range(1, 8):
        yield delivery._replace(body=body[: len(body) * part // 8])
    try:
        value: Any = json.loads(body)
    except ValueError:
        return
    for mutant in islice(_changed(value), MUTANTS):
        yield delivery._replace(body=json.dumps(mutant).encode())


def _changed(value: Any) -> Iterator[Any]:
    """The value with each of its parts replaced, those on top first; and without it."""
    yield from _OTHERS
    if isinstance(value, dict):
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON has text keys alone.
        for key in fields:
            yield {name: of for name, of in fields.items() if name != key}
        for key, inner in fields.items():
            yield from ({**fields, key: other} for other in _changed(inner))
    elif isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for n, inner in enumerate(items[:3]):  # The rest is like these.
            yield from ([*items[:n], other, *items[n + 1 :]] for other in _changed(inner))
