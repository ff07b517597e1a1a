"""The language of rules: what one can say about when something is worth an alert, and how bad it is."""

from bers_builtin.sinks.alert_engine.rules.parts import Change as Change
from bers_builtin.sinks.alert_engine.rules.parts import Clears as Clears
from bers_builtin.sinks.alert_engine.rules.parts import Override as Override
from bers_builtin.sinks.alert_engine.rules.rule import Rule as Rule
from bers_builtin.sinks.alert_engine.rules.slo import Pair as Pair
from bers_builtin.sinks.alert_engine.rules.slo import Slo as Slo
from bers_builtin.sinks.alert_engine.rules.words import FAILED as FAILED
from bers_builtin.sinks.alert_engine.rules.words import Aggregate as Aggregate
from bers_builtin.sinks.alert_engine.rules.words import OnNoData as OnNoData
from bers_builtin.sinks.alert_engine.rules.words import Severity as Severity
from bers_builtin.sinks.alert_engine.rules.words import named as named
from bers_builtin.sinks.alert_engine.rules.words import several as several
