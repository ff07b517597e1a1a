"""Event pipelines that watch builds, test runs, deployments and environment resolution."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bers.audit import Audit as Audit
    from bers.catalog import Catalog as Catalog
    from bers.catalog import Metric as Metric
    from bers.cdevents import as_cdevent as as_cdevent
    from bers.checks import Check as Check
    from bers.checks import Finding as Finding
    from bers.checks import Status as Status
    from bers.checksums import summed as summed
    from bers.clock import Clock as Clock
    from bers.clock import Stamp as Stamp
    from bers.clock import SystemClock as SystemClock
    from bers.cloudevents import as_cloudevent as as_cloudevent
    from bers.cloudevents import rfc3339 as rfc3339
    from bers.config.texts import Text as Text
    from bers.config.texts import as_yaml as as_yaml
    from bers.config.texts import from_yaml as from_yaml
    from bers.database import Database as Database
    from bers.decoding import Decoder as Decoder
    from bers.decoding import Rejection as Rejection
    from bers.disk import disk_fault as disk_fault
    from bers.errors import BersError as BersError
    from bers.errors import ConfigError as ConfigError
    from bers.errors import Conflict as Conflict
    from bers.errors import Full as Full
    from bers.errors import PluginError as PluginError
    from bers.errors import Refused as Refused
    from bers.errors import Rejected as Rejected
    from bers.errors import Unwritable as Unwritable
    from bers.errors import unknown as unknown
    from bers.filters import Filter as Filter
    from bers.filters import FilterError as FilterError
    from bers.formats import Answer as Answer
    from bers.formats import Delivery as Delivery
    from bers.formats import Format as Format
    from bers.formats import Manners as Manners
    from bers.headers import header_faults as header_faults
    from bers.hookspecs import hookimpl as hookimpl
    from bers.notifications.channels import Channel as Channel
    from bers.notifications.channels import Channels as Channels
    from bers.notifications.messengers import Messenger as Messenger
    from bers.notifications.messengers import NotTaken as NotTaken
    from bers.notifications.messengers import Taken as Taken
    from bers.notifications.notices import Account as Account
    from bers.notifications.notices import Notice as Notice
    from bers.notifications.notices import one_line as one_line
    from bers.notifications.posting import Poster as Poster
    from bers.notifications.secrecy import Masked as Masked
    from bers.notifications.spec import notifier as notifier
    from bers.notifications.templates import Template as Template
    from bers.operations import Caller as Caller
    from bers.operations import Nothing as Nothing
    from bers.operations import Operation as Operation
    from bers.operations import Outlet as Outlet
    from bers.operations import Page as Page
    from bers.operations import Reply as Reply
    from bers.operations import Sheet as Sheet
    from bers.operations import Stream as Stream
    from bers.panels import Panel as Panel
    from bers.patterns import Pattern as Pattern
    from bers.patterns import PatternError as PatternError
    from bers.patterns import TooMuchWork as TooMuchWork
    from bers.persisting import persist as persist
    from bers.positions import Positions as Positions
    from bers.production import start_production_monitoring as start_production_monitoring
    from bers.programs import run_program as run_program
    from bers.recorded import Recorded as Recorded
    from bers.records import Batch as Batch
    from bers.records import Event as Event
    from bers.records import Labels as Labels
    from bers.records import Outcome as Outcome
    from bers.records import Run as Run
    from bers.records import Tier as Tier
    from bers.records import Vcs as Vcs
    from bers.records import Window as Window
    from bers.redaction import Redactor as Redactor
    from bers.redaction import Secret as Secret
    from bers.redaction import redact as redact
    from bers.redaction import redact_text as redact_text
    from bers.stages import Config as Config
    from bers.stages import Context as Context
    from bers.stages import Durable as Durable
    from bers.stages import DurableSpec as DurableSpec
    from bers.stages import Emit as Emit
    from bers.stages import Explaining as Explaining
    from bers.stages import Processor as Processor
    from bers.stages import ProcessorSpec as ProcessorSpec
    from bers.stages import Receiver as Receiver
    from bers.stages import Sink as Sink
    from bers.stages import SinkSpec as SinkSpec
    from bers.stages import Source as Source
    from bers.stages import SourceSpec as SourceSpec
    from bers.stages import Stage as Stage
    from bers.stages import Telling as Telling
    from bers.stages import Vital as Vital
    from bers.stages import Written as Written
    from bers.tables import Table as Table
    from bers.targets import Blocked as Blocked
    from bers.targets import Target as Target
    from bers.units import Duration as Duration
    from bers.units import Interval as Interval
    from bers.units import Percent as Percent
    from bers.units import Period as Period
    from bers.units import Quantity as Quantity
    from bers.units import Size as Size
    from bers.units import format_duration as format_duration
    from bers.units import format_value as format_value
    from bers.units import period as period
    from bers.units import quantity as quantity

__version__ = "1.0.0"

# Where each public name lives. It is imported when it is asked for: `bers --help` needs none of them.
_HOMES = {
    "Account": "notifications.notices",
    "Answer": "formats",
    "Audit": "audit",
    "Batch": "records",
    "BersError": "errors",
    "Blocked": "targets",
    "Caller": "operations",
    "Catalog": "catalog",
    "Channel": "notifications.channels",
    "Channels": "notifications.channels",
    "Check": "checks",
    "Clock": "clock",
    "Config": "stages",
    "ConfigError": "errors",
    "Conflict": "errors",
    "Context": "stages",
    "Database": "database",
    "Decoder": "decoding",
    "Delivery": "formats",
    "Durable": "stages",
    "DurableSpec": "stages",
    "Duration": "units",
    "Emit": "stages",
    "Event": "records",
    "Explaining": "stages",
    "Filter": "filters",
    "FilterError": "filters",
    "Finding": "checks",
    "Format": "formats",
    "Full": "errors",
    "Interval": "units",
    "Labels": "records",
    "Manners": "formats",
    "Masked": "notifications.secrecy",
    "Messenger": "notifications.messengers",
    "Metric": "catalog",
    "NotTaken": "notifications.messengers",
    "Nothing": "operations",
    "Notice": "notifications.notices",
    "Operation": "operations",
    "Outcome": "records",
    "Outlet": "operations",
    "Page": "operations",
    "Panel": "panels",
    "Pattern": "patterns",
    "PatternError": "patterns",
    "Percent": "units",
    "Period": "units",
    "PluginError": "errors",
    "Positions": "positions",
    "Poster": "notifications.posting",
    "Processor": "stages",
    "ProcessorSpec": "stages",
    "Quantity": "units",
    "Receiver": "stages",
    "Recorded": "recorded",
    "Redactor": "redaction",
    "Refused": "errors",
    "Rejected": "errors",
    "Rejection": "decoding",
    "Reply": "operations",
    "Run": "records",
    "Secret": "redaction",
    "Sheet": "operations",
    "Sink": "stages",
    "SinkSpec": "stages",
    "Size": "units",
    "Source": "stages",
    "SourceSpec": "stages",
    "Stage": "stages",
    "Stamp": "clock",
    "Status": "checks",
    "Stream": "operations",
    "SystemClock": "clock",
    "Table": "tables",
    "Taken": "notifications.messengers",
    "Target": "targets",
    "Telling": "stages",
    "Template": "notifications.templates",
    "Text": "config.texts",
    "Tier": "records",
    "TooMuchWork": "patterns",
    "Unwritable": "errors",
    "Vcs": "records",
    "Vital": "stages",
    "Window": "records",
    "Written": "stages",
    "as_cdevent": "cdevents",
    "as_cloudevent": "cloudevents",
    "as_yaml": "config.texts",
    "disk_fault": "disk",
    "format_duration": "units",
    "format_value": "units",
    "from_yaml": "config.texts",
    "header_faults": "headers",
    "hookimpl": "hookspecs",
    "notifier": "notifications.spec",
    "one_line": "notifications.notices",
    "period": "units",
    "persist": "persisting",
    "quantity": "units",
    "redact": "redaction",
    "redact_text": "redaction",
    "rfc3339": "cloudevents",
    "run_program": "programs",
    "start_production_monitoring": "production",
    "summed": "checksums",
    "unknown": "errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bers' has no attribute {name!r}")
    value = getattr(import_module(f"bers.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
