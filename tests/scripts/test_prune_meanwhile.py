"""`invoke prune` while somebody publishes, and when it is killed: nothing that is needed goes."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.bucket import Bucket
from common.errors import ConflictError
from common.retention import Rules
from common.snapshots import Snapshots
from common.sweep import NOTES
from lxd.simplestreams import IMAGES
from scripts.prune import Pruning
from tests.scripts.pruneparts import HOUR, Desk, folders


@pytest.mark.parametrize("moment", ["index", "marks", "delete"])
def test_who_is_overtaken_stops_and_says_by_whom(desk: Desk, moment: str) -> None:
    """A publisher comes at every moment of a prune: nothing that it shows goes."""
    if moment == "delete":
        desk.prune()
        desk.clock += HOUR
    staging = desk.half.staging
    rival = Desk(desk.out, signer=desk.signer)
    rival.clock = desk.clock
    met: list[str] = []

    def publishes(name: str) -> None:
        wanted = {"index": f"upload 72/{IMAGES}", "marks": f"upload 72/{NOTES}", "delete": f"read 72/{NOTES}"}
        if name == wanted[moment] and not met:
            met.append(name)
            rival.publish(9)

    watched = Snapshots(Watched(staging.bucket, publishes), 72)
    run = Pruning(replace(desk.half, staging=watched), watched, Rules(keep=1, older_than=dt.timedelta(0)), tast=None,
                  now=desk.clock, publisher="prune by me")  # fmt: skip
    if moment == "marks":
        run.run(plan=False)  # nothing is deleted yet: the next run finds what is shown then
    else:
        with pytest.raises(ConflictError, match="was changed by 'job'"):
            run.run(plan=False)
    assert met
    assert desk.wrong() == []
    for _ in range(2):
        desk.clock += HOUR
        desk.prune()
    assert desk.wrong() == []


class Watched:
    """A bucket that has `before` called with what is about to be done, and to which object."""

    def __init__(self, bucket: Bucket, before: Callable[[str], None]) -> None:
        self._bucket, self._before = bucket, before

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401, whatever the bucket has
        return getattr(self._bucket, method)

    def read(self, name: str) -> Any:  # noqa: ANN401, as above
        self._before(f"read {name}")
        return self._bucket.read(name)

    def upload(self, source: Any, name: str, **more: Any) -> Any:  # noqa: ANN401, as above
        self._before(f"upload {name}")
        return self._bucket.upload(source, name, **more)

    def delete(self, name: str, **more: Any) -> None:  # noqa: ANN401, as above
        self._before(f"delete {name}")
        self._bucket.delete(name, **more)

    def claim(self, name: str, **more: Any) -> Any:  # noqa: ANN401, as above
        self._before(f"claim {name}")
        return self._bucket.claim(name, **more)


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing after it runs."""


def pruned_until(desk: Desk, writes: int) -> bool:
    """Prune staging, and be killed before that write; whether it came to that."""

    def before(what: str) -> None:
        nonlocal writes
        writes -= not what.startswith("read ")
        if writes < 0:
            raise Killed

    watched = Snapshots(Watched(desk.half.staging.bucket, before), 72)
    run = Pruning(replace(desk.half, staging=watched), watched, Rules(keep=1, older_than=dt.timedelta(0)), tast=None,
                  now=desk.clock, publisher="prune by me")  # fmt: skip
    try:
        run.run(plan=False)
    except Killed:
        return True
    return False


def test_killed_before_any_write_the_next_run_completes(five: Desk, tmp_path: Path) -> None:
    """The run that marks, and the one that deletes."""
    writes, killed = 0, True
    while killed:
        desk = five.copy(tmp_path / str(writes))
        before = desk.half.staged()
        killed = pruned_until(desk, writes)
        assert desk.half.staged() == before
        desk.clock += HOUR
        killed |= pruned_until(desk, writes)
        assert desk.half.staged() == before
        for _ in range(2):
            desk.clock += HOUR
            desk.prune()
        assert len(folders(desk.half.staging.bucket)) == len(desk.half.staging.ids()) == 3
        if writes % 4 == 0:
            assert desk.wrong() == []
        writes += 1
    assert writes > 10
