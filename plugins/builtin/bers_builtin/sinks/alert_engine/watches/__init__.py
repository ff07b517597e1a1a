"""Rules at work: which events each of them reads, and what it concludes. One kind of condition per file."""

from bers_builtin.sinks.alert_engine.watches.assembly import Watches as Watches
from bers_builtin.sinks.alert_engine.watches.no_data import NoDataWatch as NoDataWatch
from bers_builtin.sinks.alert_engine.watches.objectives import Objective as Objective
from bers_builtin.sinks.alert_engine.watches.series import Evidence as Evidence
from bers_builtin.sinks.alert_engine.watches.series import SavedSeries as SavedSeries
from bers_builtin.sinks.alert_engine.watches.series import Series as Series
from bers_builtin.sinks.alert_engine.watches.series import Verdict as Verdict
from bers_builtin.sinks.alert_engine.watches.watch import Watch as Watch
