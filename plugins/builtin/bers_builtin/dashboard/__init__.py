"""The status page: how things are, in the HTML itself, and kept up to date in place."""

from __future__ import annotations

from bers_builtin.dashboard.stage import DASHBOARD, Dashboard, DashboardConfig, bers_sinks

__all__ = ["DASHBOARD", "Dashboard", "DashboardConfig", "bers_sinks"]
