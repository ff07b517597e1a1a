"""Tell browsers and scripts what happens, while it happens: a stream of server-sent events."""

from __future__ import annotations

from bers_builtin.sinks.sse.ask import Ask
from bers_builtin.sinks.sse.config import SseConfig
from bers_builtin.sinks.sse.stage import SSE, Sse, bers_sinks

__all__ = ["SSE", "Ask", "Sse", "SseConfig", "bers_sinks"]
