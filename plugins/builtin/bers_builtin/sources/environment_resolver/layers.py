"""Which ``.env`` files hold in an environment, and which of them wins: the dialects disagree."""

from __future__ import annotations

from collections.abc import Sequence

from bers_builtin.sources.environment_resolver.config import Dialect

_NEXT_MODES = ("development", "production", "test")


def env_files(dialect: Dialect, environment: str | None) -> Sequence[str]:
    """The files of an environment, strongest first; of no environment, those that hold in each."""
    if environment is None:
        return (".env.local", ".env", ".env.defaults") if dialect == "dotenv-flow" else (".env.local", ".env")
    own, shared = f".env.{environment}", ".env.local"
    match dialect:
        case "vite":
            return (f"{own}.local", own, shared, ".env")
        case "dotenv-flow" if environment == "test":
            return (f"{own}.local", own, ".env", ".env.defaults")
        case "dotenv-flow":
            return (f"{own}.local", own, shared, ".env", ".env.defaults")
        case "next" if environment == "test":
            return (f"{own}.local", own, ".env")
        case "next" if environment in _NEXT_MODES:
            return (f"{own}.local", shared, own, ".env")
        case "next":  # It knows three modes; the files of any other are not read at all.
            return (shared, ".env")
