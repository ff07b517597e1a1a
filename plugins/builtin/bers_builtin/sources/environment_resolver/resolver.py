"""Looks at one project: detects its environment, and resolves its configuration unless it is known already."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
from bers_builtin.sources.environment_resolver.detection import Detection, detect
from bers_builtin.sources.environment_resolver.files import ProjectFolder, Stamp, settled
from bers_builtin.sources.environment_resolver.resolution import Resolution, candidate_files, resolve


class _Known(NamedTuple):
    generation: int
    stamps: tuple[Stamp, ...]
    environ: Mapping[str, str]
    until: float
    resolution: Resolution


class Resolver:
    """Its methods do file work: call them in a thread. Several threads may; who comes second finds the work done."""

    def __init__(
        self,
        config: EnvironmentResolverConfig,
        *,
        environ: Mapping[str, str] | None = None,
        hostname: str | None = None,
    ) -> None:
        """``environ`` and ``hostname`` are this process's own unless told otherwise."""
        self.config = config
        self.root = Path(config.root)
        self.generation = 0
        """How often the cache was cleared."""
        self._environ = environ
        self._hostname = hostname
        self._known: dict[str | None, _Known] = {}
        self._one_at_a_time = Lock()

    def detect(self) -> Detection:
        """Find the environment; raise OSError if the project directory cannot be read."""
        hostname = socket.gethostname() if self._hostname is None else self._hostname
        return detect(self.config, self._folder(), self._variables(), hostname)

    def resolve(self, environment: str | None, now: float) -> tuple[Resolution, bool]:
        """The configuration in that environment, and whether it was known already. ``now`` is monotonic."""
        with self._one_at_a_time:
            generation = self.generation
            folder, environ = self._folder(), self._variables()
            began = time.time_ns()
            stamps = folder.stamps(candidate_files(self.config, environment))
            known = self._known.get(environment)
            if known and known[:3] == (generation, stamps, environ) and now < known.until:
                return known.resolution, True
            resolution = resolve(self.config, folder, environ, environment)
            self._known.pop(environment, None)
            if settled(stamps, began):
                until = now + self.config.ttl
                self._known[environment] = _Known(generation, stamps, environ, until, resolution)
            return resolution, False

    def clear(self) -> int:
        """Forget every resolution; return how many there were."""
        known, self._known = self._known, {}
        self.generation += 1  # Whoever resolves just now puts in what is out of date already.
        return len(known)

    def _folder(self) -> ProjectFolder:
        if not self.root.is_dir():
            raise NotADirectoryError(f"{str(self.root)!r} is no directory; correct the option `root`")
        return ProjectFolder(self.root)

    def _variables(self) -> Mapping[str, str]:
        return dict(os.environ if self._environ is None else self._environ)
