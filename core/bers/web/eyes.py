"""What operators look through: the running graph, taps, and the path of one event."""

from __future__ import annotations

from bers.explaining import AskExplain, AskExplainAt, Explainer, Explanation
from bers.operations import AnyOperation, Caller, Nothing, Operation, Outlet, Stream
from bers.overview import Overview, look, places
from bers.supervisor import Supervisor
from bers.tapping import AskTap
from bers.telling import AskDeliveries, Delivered, deliveries

TAP_MEDIA = "application/x-ndjson"
"""One JSON object a line: for `jq` and `grep`, which is who taps; browsers have the stream of events."""


class Eyes:
    """Answers whoever looks into a running node."""

    def __init__(self, node: Supervisor) -> None:
        self._node = node
        self._explainer = Explainer(node)

    async def pipelines(self, ask: Nothing, caller: Caller) -> Overview:
        return await look(self._node)

    async def tap(self, ask: AskTap, outlet: Outlet) -> None:
        await self._node.taps.tap(ask, outlet, places(self._node))

    async def explain(self, ask: AskExplain, caller: Caller) -> Explanation:
        return await self._explainer.explain(ask.id, ask.source)

    async def deliveries(self, ask: AskDeliveries, caller: Caller) -> list[Delivered]:
        return await deliveries(self._node.directory, ask.subject)

    async def explain_at(self, ask: AskExplainAt, caller: Caller) -> Explanation:
        return await self._explainer.explain_at(ask.position)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        "GET", "pipelines", Eyes.pipelines, Nothing, Overview,
        "The running graph: the state, rates, cost, queues and lag of every place that records pass.",
    ),
    Stream(
        "tap", Eyes.tap, AskTap, "See what passes one place of the pipelines, while it does, one JSON object a line.",
        media=TAP_MEDIA,
    ),
    Operation(
        "GET", "explain/{id}", Eyes.explain, AskExplain, Explanation,
        "The path of one event, and what each stage made of it.",
    ),
    Operation(
        "GET", "explain", Eyes.explain, AskExplain, Explanation,
        "The same, for ids that do not fit into a path.", refuses=("not_found",),
    ),
    Operation(
        "GET", "deliveries", Eyes.deliveries, AskDeliveries, list[Delivered],
        "Who was told of an alert, who is still to be told, and who could not be: by all sinks together.",
    ),
    Operation(
        "GET", "explain/at/{position}", Eyes.explain_at, AskExplainAt, Explanation,
        "The same, for the event at a position of the journal.",
    ),
)  # fmt: skip
