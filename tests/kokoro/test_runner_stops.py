"""The local runner stopped: interrupted, killed, past a deadline, or held up by another one."""

import os
import signal
from pathlib import Path

import pytest

from common import tools
from common.errors import BusyError, DeadlineError
from common.waiting import wait_until
from tests.kokoro.toys import BRANCH, FLOW, needs_root, sleepers, start_lingering, states
from tests.support import Checkout, toy_build, wait


@needs_root
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_interrupted_run_ends_all_its_processes_and_keeps_what_was_done(
    toy: Checkout, signum: signal.Signals, code: int
) -> None:
    start_lingering(toy, "71.5")
    log = toy.path.parent / "log"
    env = {**tools.environment(), **toy.env}
    with tools.started([toy.path / "run", *FLOW], cwd=toy.path, only_env=env, log_file=log) as process:
        wait_until(lambda: (toy.path / "out/cache/up").exists(), "the job to run", timeout=120)
        wait_until(lambda: states(toy).get("right"), "the other job to finish", timeout=120)
        assert len(sleepers("71.5")) >= 2
        os.kill(process.pid, signum)
        assert wait(process, 120) == code
    assert sleepers("71.5") == []
    assert states(toy) == {"right": "passed"}
    assert "left: interrupted" in log.read_text()
    assert not (toy.path / "out" / "work").exists()


@needs_root
def test_a_killed_run_leaves_nothing_and_the_next_one_succeeds(toy: Checkout) -> None:
    start_lingering(toy, "72.5")
    env = {**tools.environment(), **toy.env}
    with tools.started(
        [toy.path / "run", *FLOW], cwd=toy.path, only_env=env, log_file=toy.path.parent / "log"
    ) as process:
        wait_until(lambda: (toy.path / "out/cache/up").exists(), "the job to run", timeout=120)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not sleepers("72.5"), "every process of the job to be gone", timeout=60)
    assert str(toy.path).replace(" ", "\\040") not in Path("/proc/mounts").read_text()
    toy_build(toy, "left", "mkdir -p out/deep && echo left >out/deep/left.txt")
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    assert not (toy.path / "out" / "work").exists()


def test_only_one_run_at_a_time(toy: Checkout) -> None:
    start_lingering(toy, "73.5")
    env = {**tools.environment(), **toy.env}
    with tools.started(
        [toy.path / "run", *FLOW], cwd=toy.path, only_env=env, log_file=toy.path.parent / "log"
    ) as process:
        wait_until(lambda: (toy.path / "out/cache/up").exists(), "the job to run", timeout=120)
        second = toy.run(*FLOW)
        assert second.code == BusyError.exit_code
        assert f"process {process.pid} already works" in second.output
        os.kill(process.pid, signal.SIGTERM)
        wait(process, 120)


def test_a_job_past_its_deadline_ends_with_its_whole_group(toy: Checkout) -> None:
    import dataclasses
    import threading

    from common.branches import find_branch
    from kokoro.buckets import Access
    from kokoro.config import load
    from kokoro.flows import CONTINUOUS, Selection, read_flows
    from kokoro.job import Runner
    from kokoro.results import Out, State
    from kokoro.sources import Tree

    start_lingering(toy, "74.5")
    flows = read_flows(toy.path / "kokoro" / "flows.toml")
    [job] = flows.jobs(CONTINUOUS, Selection.of(find_branch(BRANCH)), only="left")
    config = dataclasses.replace(load(toy.path / "kokoro" / "left.cfg"), timeout_mins=1)
    config = dataclasses.replace(config, timeout_mins=0.02)  # type: ignore[arg-type]  # a minute is long for a test
    root = os.geteuid() == 0
    out = Out(toy.path / "out")
    runner = Runner(
        tree=Tree(toy.path), out=out, access=Access.of("directory", out, {}), root=root, force=False,
        stopping=threading.Event(),
    )  # fmt: skip
    result = runner.run(job, config)
    assert result.state is State.TIMED_OUT
    assert result.exit_code == DeadlineError.exit_code
    if root:
        assert sleepers("74.5") == []
