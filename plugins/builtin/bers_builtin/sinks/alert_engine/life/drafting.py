"""An alert as its rule sees it now, before anything has happened to it."""

from __future__ import annotations

import msgspec

from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Reason
from bers_builtin.sinks.alert_engine.watches import Series, Watch


def draft(watch: Watch, series: Series, moment: Moment, previous: str | None, *, annotated: bool = True) -> Alert:
    """What would fire now; annotations are rendered where somebody is told."""
    evidence, rule = series.evidence, watch.rule
    labels = dict(series.labels)
    where = ", ".join(labels.values())
    return Alert(
        id=series.id,
        rule_id=watch.id,
        rule=rule.name,
        type=watch.type,
        severity=watch.severity(series),
        status="pending",
        title=f"{rule.name}: {where}" if where else rule.name,
        message=watch.message(series),
        timestamp=moment.ms,
        fired_at=moment.ms,
        updated_at=moment.ms,
        environment=evidence.environment,
        value=series.value,
        threshold=watch.threshold_of(series),
        unit=watch.unit,
        count=1,
        fingerprint=series.fingerprint,
        labels=watch.labels(series),
        previous_id=previous,
        annotations=watch.annotate(series) if annotated else {},
        metadata={"source": evidence.source, "event": evidence.id, "subject": evidence.subject},
    )


def began(series: Series, moment: Moment) -> int:
    """When what is pending began, in milliseconds since 1970."""
    waited = moment.at - series.since if series.since is not None else 0.0
    return round((moment.wall - waited) * 1000)  # Sums of floats may fall a millisecond short.


def pending(watch: Watch, series: Series, moment: Moment, previous: str | None) -> Alert:
    """What has begun, and fires once it has lasted."""
    alert, since = draft(watch, series, moment, previous), began(series, moment)
    return msgspec.structs.replace(
        alert, timestamp=since, fired_at=since, reason=Reason("breach", f"{alert.message}, not for long enough yet")
    )
