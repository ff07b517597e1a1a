"""Where events come from: the CI system that runs us, else this host."""

from __future__ import annotations

import os
import re
import sys

TYPE_CHECKING = False  # The typing module costs 10 ms of start-up on Python 3.9.
if TYPE_CHECKING:
    from collections.abc import Mapping

# What tells the system, the system's name in a source, and the variables that name the project in it.
_SYSTEMS = (
    ("GITHUB_ACTIONS", "github", ("GITHUB_REPOSITORY",)),
    ("GITLAB_CI", "gitlab", ("CI_PROJECT_PATH",)),
    ("JENKINS_URL", "jenkins", ("JOB_NAME",)),
    ("BUILDKITE", "buildkite", ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")),
    ("CIRCLECI", "circleci", ("CIRCLE_PROJECT_USERNAME", "CIRCLE_PROJECT_REPONAME")),
    ("TF_BUILD", "azure", ("SYSTEM_TEAMPROJECT", "BUILD_DEFINITIONNAME")),
    ("BITBUCKET_BUILD_NUMBER", "bitbucket", ("BITBUCKET_REPO_FULL_NAME",)),
    ("TEAMCITY_VERSION", "teamcity", ("TEAMCITY_PROJECT_NAME", "TEAMCITY_BUILDCONF_NAME")),
    ("CODEBUILD_BUILD_ID", "codebuild", ("CODEBUILD_BUILD_ID",)),
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._~/-]")


def source(environ: Mapping[str, str]) -> str:
    """The default source of an event: ``/ci/SYSTEM/PROJECT`` in CI, else ``/host/NAME``."""
    for marker, system, names in _SYSTEMS:
        if _is_set(environ, marker):
            project = "/".join(filter(None, (environ.get(name, "") for name in names)))
            if system == "codebuild":  # An id is PROJECT:UUID, and a source outlives one build.
                project = project.partition(":")[0]
            return f"/ci/{system}/{_quoted(project) or 'unknown'}"
    return f"/host/{_quoted(_host(environ)) or 'unknown'}"


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether a CI system runs us, by the variable that all of them set."""
    return _is_set(environ, "CI")


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() not in ("", "0", "false", "no")


def _host(environ: Mapping[str, str]) -> str:
    if sys.platform == "win32":
        return environ.get("COMPUTERNAME", "")
    return os.uname().nodename


def _quoted(text: str) -> str:
    """Percent-encode what a URI reference cannot hold; urllib's own quote costs 10 ms to import."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)
