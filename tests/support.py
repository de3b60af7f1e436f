"""What tests share that is no fixture: a checkout to break, commands run in it, toy builds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common import tools
from common.files import ROOT
from common.mirror import native_arch
from common.waiting import wait_until

BRANCH = "release-R72-11316.B"
# The README's first command, and where it leaves what it made.
FLOW = ("invoke", "continuous", "--branch", BRANCH, "--release", "bookworm")
JOBS = ROOT / "out" / "jobs" / "cros-containers" / "crostini-guest" / "72"
IMAGES = [f"lxd/bookworm/{native_arch()}/{kind}" for kind in ("default", "test")]


@dataclass(frozen=True)
class Finished:
    """How a command ended: exit code, and all it printed."""

    code: int
    output: str


@dataclass(frozen=True)
class Checkout:
    """A git checkout of this project that a test may change; commands run in it as a user's would."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str, *, mode: int = 0o644) -> Path:
        """Write one of its files."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        return path

    def commit(self) -> None:
        """Commit everything."""
        git: list[tools.Arg] = ["git", "-C", self.path, "-c", "user.name=test", "-c", "user.email=test@localhost"]
        tools.capture([*git, "add", "--all"])
        tools.capture([*git, "commit", "--quiet", "--allow-empty", "--message", "test"])

    def run(self, *command: str, timeout: float = 120, **env: str) -> Finished:
        """Run ./run with these arguments."""
        log = self.path.parent / f"{self.path.name}.output"
        log.unlink(missing_ok=True)
        whole = {**tools.environment(), **self.env, **env}
        with tools.started([self.path / "run", *command], cwd=self.path, only_env=whole, log_file=log) as process:
            code = wait(process, timeout)
        return Finished(code, log.read_text())


def wait(process: tools.Process, timeout: float) -> int:
    """Wait for a program to end and return its exit code."""
    wait_until(lambda: not process.alive(), f"{process.argv[0]} to end", timeout=timeout, every=0.02)
    return process.exit_code


def toy_build(checkout: Checkout, name: str, script: str, cfg: str = "") -> None:
    """Write the .cfg and .sh of one toy build; its artifacts are out/**/*.txt without the `out`."""
    checkout.write(f"kokoro/{name}.sh", f"#!/bin/sh\nset -e\n{script}\n", mode=0o755)
    checkout.write(
        f"kokoro/{name}.cfg",
        f'build_file: "cros-container-guest-tools/kokoro/{name}.sh"\n{cfg}\n'
        'action { define_artifacts { regex: "out/**/*.txt" strip_prefix: "out/" fail_if_no_artifacts: true } }\n',
    )


# Seen from inside, a user without rights; outside it is still us, so that it reads what only we may read.
AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
