"""Where a Kokoro build's shell step arrives: reads the environment, and calls the build's Python."""

import importlib
import logging
import os
from collections.abc import Mapping

from common import progress
from kokoro.env import KokoroEnv
from kokoro.flows import read_flows
from kokoro.sources import Tree

log = logging.getLogger(__name__)


def run_build(name: str, environ: Mapping[str, str]) -> None:
    """Run the build `name` (with underscores) in the environment Kokoro, or the local runner, made.

    Raises:
        ReleaseError: whatever the build found.
    """
    progress.configure_logging()
    os.umask(0o022)
    env = KokoroEnv.read(_with_epoch(name, environ))
    log.info("%s for %s, commit %s", env.job_name, env.branch.name, env.commit or "(none)")
    importlib.import_module(f"kokoro.{name}").build(env)


def _with_epoch(name: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Kokoro sets no SOURCE_DATE_EPOCH: it is the time of the last commit that touched the build's sources."""
    if environ.get("SOURCE_DATE_EPOCH"):
        return environ
    tree = Tree(KokoroEnv.source_of(environ))
    epoch = tree.epoch(tree.select(read_flows().build(name).sources))
    commit = environ.get("KOKORO_GIT_COMMIT") or tree.commit()
    return {**environ, "SOURCE_DATE_EPOCH": str(epoch), "KOKORO_GIT_COMMIT": commit}
