"""The containers of a run, each taken through its situations and their checks; what every check found."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from common.errors import CheckFailedError, CommandError, DeadlineError, ReleaseError
from lxd import host
from lxd.checks import CHECKS, Check, Guest, Run, Situation
from lxd.client import translated
from lxd.container import Container
from lxd.daemon import Lxd
from lxd.report import Outcome

log = logging.getLogger(__name__)

# How many checks are run at once in a container: most of their time they wait for something there.
AT_ONCE = 4
# Two containers at once, each through its situations in turn: a reboot is as good as a new container, and cheaper.
TRACKS = ((Situation.BARE, Situation.GPU), (Situation.HOST,))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done with the image.

    Attributes:
        image: its fingerprint in the daemon.
        chosen: the checks that were asked for.
        run: what the checks are told.
        devices: what the host gives the container, without a GPU.
        keep: a container is left as it is as soon as a check has failed in it.
        prepare: is given every container before its first start.
    """

    image: str
    chosen: Sequence[Check]
    run: Run
    devices: host.Devices
    keep: bool = False
    prepare: Callable[[Container], None] = lambda _container: None

    def checks_in(self, situation: Situation) -> list[Check]:
        """The checks to run there, with those they need; none where none was asked for."""
        here = [check for check in CHECKS if situation in check.situations and check.is_for(self.run.about)]
        names = {check.name for check in here if check in self.chosen}
        if not names:
            return []
        names |= {check.name for check in here if check.needed}
        for check in reversed(here):  # what a check comes after is before it in the list
            if check.name in names:
                names.update(check.after)
        return [check for check in here if check.name in names]


def run_all(daemon: Lxd, plan: Plan) -> list[Outcome]:
    """Take every container through its situations.

    Raises:
        ImageError: LXD cannot unpack or start the image.
        LxdDiedError, DiskFullError: from LXD.
    """

    def through(track: Sequence[Situation]) -> list[Outcome]:
        return list(_through(daemon, plan, track))

    pool = ThreadPoolExecutor(len(TRACKS))
    try:
        return [outcome for outcomes in pool.map(through, TRACKS) for outcome in outcomes]
    finally:
        # When one track ends the run, or Ctrl-C does, the other one ends with our own daemon: no need to wait for it.
        pool.shutdown(wait=not daemon.own, cancel_futures=True)


def name_of(situation: Situation) -> str:
    """The name of the container that is, at some time, in this situation."""
    return next(f"check-{track[0]}" for track in TRACKS if situation in track)


def _through(daemon: Lxd, plan: Plan, situations: Sequence[Situation]) -> Iterator[Outcome]:
    """One container, through its situations."""
    devices = {
        Situation.BARE: {},
        Situation.HOST: plan.devices,
        Situation.GPU: plan.devices | host.gpu_device(),
    }
    container = None
    kept = ""
    for situation in situations:
        checks = plan.checks_in(situation)
        if not checks:
            continue
        if kept:
            yield from (Outcome(situation, check.name, skipped=kept) for check in checks)
            continue
        if container is None:
            container = Container.create(
                daemon.connect(), name_of(situation), image=plan.image, devices=devices[situation]
            )
            plan.prepare(container)
        else:
            container.stop()
            container.set_devices(devices[situation])
        container.start()
        for outcome in run_checks(Guest(container, situation, plan.run), checks, keep=plan.keep):
            yield outcome
            if outcome.failure and plan.keep:
                kept = f"{container.name} is kept as {outcome.name} left it"


def run_checks(guest: Guest, checks: Sequence[Check], *, keep: bool = False) -> Iterator[Outcome]:
    """Run checks in one container, several at once; what lacks its ground is skipped, with the first cause as reason.

    Args:
        keep: each is run by itself, and after a failure nothing is done to the container any more.
    """
    missing = ""
    lost: dict[str, str] = {}  # a check that did not pass -> why those after it are skipped

    def outcome_of(check: Check) -> Outcome:
        reason = missing or next((lost[name] for name in check.after if name in lost), "") or check.lacking(guest)
        return Outcome(guest.situation, check.name, skipped=reason) if reason else _run_check(guest, check)

    for stage in stages(checks, alone=keep):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(outcome_of, stage))
        yield from outcomes
        for check, outcome in zip(stage, outcomes, strict=True):
            if outcome.failure:
                lost[check.name] = f"{check.name} failed"
                if keep:
                    missing = f"{guest.root.name} is kept as {check.name} left it"
                elif check.needed:
                    missing = lost[check.name]
            elif outcome.skipped:
                lost[check.name] = outcome.skipped


def stages(checks: Sequence[Check], *, alone: bool = False) -> Iterator[list[Check]]:
    """Checks in the order of the list, those together that may be run at once; with `alone`, each by itself."""
    stage: list[Check] = []
    for check in checks:
        ground = {other.name for other in stage} & set(check.after)
        if stage and (alone or ground or any(each.alone or each.needed for each in (stage[-1], check))):
            yield stage
            stage = []
        stage.append(check)
    if stage:
        yield stage


def _run_check(guest: Guest, check: Check) -> Outcome:
    """Run one check. What is the image's fault is its outcome; everything else ends the run."""
    begun = time.monotonic()
    failure: ReleaseError | None = None
    note = ""
    try:
        with translated():
            note = check.function(guest) or ""
    except (CheckFailedError, CommandError, DeadlineError) as err:
        failure = err
    seconds = time.monotonic() - begun
    how = "FAILED" if failure else f"ok, {note}" if note else "ok"
    log.info("%s (%s): %s after %.1f s", check.name, guest.situation, how, seconds)
    return Outcome(guest.situation, check.name, seconds, failure, note=note)
