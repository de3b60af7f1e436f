"""The command line: one task for each build of kokoro/flows.toml, the flows, and what helps at a desk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task, task

from common.errors import UsageError, reported
from kokoro import desk
from kokoro.flows import Build, Flow, read_flows

MATRIX = {
    "branch": "Chrome OS branch: main, or like release-R72-11316.B (./run invoke branches lists them)",
    "release": "Debian release; may be given several times; all of the branch's without it",
    "arch": "architecture of the images; may be given several times; this machine's without it",
    "image_type": "image type; may be given several times; all of the branch's without it",
    "tarball": "images get a rootfs.tar.xz, too",
    "force": "run every job, even with nothing changed",
    "jobs": "how many jobs run at the same time; 0: as many as there are processors",
    "out": "directory for everything that is made (default: out)",
    "storage": "where the buckets are: directory (gs/ below --out, the default), or gcs (Google Cloud Storage)",
}
TAST = {
    "milestone": "which one has it; without it the active ones are looked through",
    "snapshot": "id of a snapshot of containers",
    "suite": "suite of tast.toml: pfq or bvt-cq",
    "host": "the device: [user@]host[:port]",
    "tast_tests": "checkout of tast-tests (or tast-tests-private), without changes of its own",
    "results": "directory with, or for, the results of tast run",
    "keys": "directory with signing keys; the throwaway key of a desk without it",
    "plan": "change nothing, and say what would happen",
    "out": MATRIX["out"],
    "storage": MATRIX["storage"],
}
COMMON = ("plan", "out", "storage")
PRUNE = {
    "milestone": "whose; 69 or later",
    "keep": "so many of the newest snapshots of each bucket stay whatever their age (default: 3)",
    "older_than": "younger ones stay, too: 14d, 12h or 30m (default: 14d)",
    "tast": "directory with Tast's data files (*.external): what they pin stays, as what uprev has pinned does",
    "who": "who, for whoever publishes meanwhile; your user name without it",
    **{word: TAST[word] for word in COMMON},
}
GO_LIVE = {
    "milestone": "whose; 69 or later",
    "snapshot": "id of a snapshot of staging, or its beginning; what is staged now without it",
    "to": "id of a live snapshot, or its beginning; the one before what is live without it",
    "force": "go round a red gate; with --reason and --who",
    "reason": "why, for the ledger",
    "who": "who, for the ledger; your user name without it",
    **{word: TAST[word] for word in ("keys", *COMMON)},
}
MILESTONE = {word: GO_LIVE[word] for word in ("milestone", "out", "storage")}
# Invoke makes a list of these, an empty one by default, but only where the signature says None.
Words = Sequence[str] | None
ITERABLE = ["release", "arch", "image_type"]


def build_task(build: Build) -> Task[Any]:
    """The task of one build: inside Kokoro it is the build itself, at a desk the local runner brings it up to date."""

    def body(
        _c: Context, branch: str = "", release: Words = None, arch: Words = None,
        image_type: Words = None, deps: bool = True, force: bool = False, jobs: int = 0, out: str = "",
        storage: str = "", tarball: bool = False,
    ) -> None:  # fmt: skip
        with reported():
            matrix = desk.Matrix.of(branch, release, arch, image_type, tarball=tarball)
            desk.build(build, deps=deps, matrix=matrix, force=force, parallel=jobs, out=out, storage=storage)

    help_deps = "--no-deps refuses to make what it misses, and names that"
    return _named(body, build.task, build.summary, {**MATRIX, "deps": help_deps})


def flow_task(flow: Flow) -> Task[Any]:
    """The task of one flow."""

    def body(
        _c: Context, branch: str = "", release: Words = None, arch: Words = None,
        image_type: Words = None, force: bool = False, jobs: int = 0, out: str = "", storage: str = "",
        tarball: bool = False,
    ) -> None:  # fmt: skip
        from scripts import releases_page  # not at the top: a build's own process has no scripts

        with reported(), releases_page.written_after(out=out, storage=storage or "directory"):
            matrix = desk.Matrix.of(branch, release, arch, image_type, tarball=tarball)
            desk.flow(flow, matrix=matrix, force=force, parallel=jobs, out=out, storage=storage)

    return _named(body, flow.name, flow.summary, MATRIX)


def _named(body: Callable[..., None], name: str, summary: str, flags: dict[str, str]) -> Task[Any]:
    body.__doc__ = f"{summary}."
    return task(name=name, help=dict(flags), iterable=ITERABLE)(body)  # type: ignore[no-any-return, unused-ignore]


@task(help={"build": "only this build's rows; may be given several times"}, iterable=["build"])
def branches(_c: Context, build: Words = None) -> None:
    """Print the jobs of the active branches."""
    with reported():
        desk.print_branches(build or ())


@task(help={"output": "file to write instead of stdout"})
def flow_graph(_c: Context, output: str = "") -> None:
    """Draw the flows as SVG."""
    with reported():
        desk.print_graph(Path(output) if output else None)


@task(help={"out": MATRIX["out"], "http": "port for HTTP", "https": "port for HTTPS"})
def serve(_c: Context, out: str = "", http: int = 8080, https: int = 8443) -> None:
    """Serve the buckets over HTTP and HTTPS here."""
    with reported():
        desk.serve(out, http=http, https=https)


@task
def doctor(_c: Context) -> None:
    """Say what this machine can and cannot do."""
    from scripts.doctor import main  # not at the top: a build's own process has no scripts

    with reported():
        if code := main([]):
            raise SystemExit(code)


@task(help=PRUNE)
def prune(
    _c: Context, milestone: int = 0, keep: int = 3, older_than: str = "14d", tast: str = "", who: str = "",
    plan: bool = False, out: str = "", storage: str = "directory",
) -> None:  # fmt: skip
    """Delete old snapshots and what was kept for them."""
    from scripts import prune as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(milestone=milestone, keep=keep, older_than=older_than, tast=tast, who=who, plan=plan, out=out,
                   storage=storage)  # fmt: skip


@task(help={"milestone": "whose images", **{word: TAST[word] for word in ("tast_tests", "snapshot", *COMMON)}})
def uprev(
    _c: Context, tast_tests: str, milestone: int = 0, snapshot: str = "", plan: bool = False, out: str = "",
    storage: str = "directory",
) -> None:  # fmt: skip
    """Pin the newest staging images in tast-tests."""
    from scripts import uprev as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(milestone=milestone, tast_tests=tast_tests, snapshot=snapshot, plan=plan, out=out, storage=storage)


@task(help={name: text for name, text in TAST.items() if name != "keys"})
def tast_run(
    _c: Context, suite: str, snapshot: str, host: str, tast_tests: str, results: str = "", milestone: int = 0,
    plan: bool = False, out: str = "", storage: str = "directory",
) -> None:  # fmt: skip
    """Run a Tast suite with a snapshot's images."""
    from scripts import tast_run as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(suite=suite, snapshot=snapshot, host=host, tast_tests=tast_tests, results=results,
                   milestone=milestone, plan=plan, out=out, storage=storage)  # fmt: skip


@task(help={name: text for name, text in TAST.items() if name not in ("host", "tast_tests")})
def tast_record(
    _c: Context, snapshot: str, results: str, suite: str = "", keys: str = "", milestone: int = 0, plan: bool = False,
    out: str = "", storage: str = "directory",
) -> None:  # fmt: skip
    """Attach the results of Tast to a snapshot."""
    from scripts import tast_record as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(suite=suite, snapshot=snapshot, results=results, keys=keys, milestone=milestone, plan=plan,
                   out=out, storage=storage)  # fmt: skip


def promote_task(part: str, what: str) -> Task[Any]:
    """The task that promotes one half of a milestone."""

    def body(
        _c: Context, milestone: int = 0, snapshot: str = "", plan: bool = False, force: bool = False, reason: str = "",
        who: str = "", keys: str = "", out: str = "", storage: str = "directory",
    ) -> None:  # fmt: skip
        from common.snapshots import Part
        from scripts import promote as script  # not at the top: a build's own process has no scripts

        with reported():
            how = script.How(plan=plan, force=force, reason=reason, who=who, keys=keys, out=out, storage=storage)
            script.run(Part(part), milestone=milestone, snapshot=snapshot, how=how)

    body.__doc__ = f"Make {what} live that staging has tested."
    return task(name=f"promote-{part}", help=_without(GO_LIVE, "to"))(body)  # type: ignore[no-any-return, unused-ignore]


def rollback_task(part: str, what: str) -> Task[Any]:
    """The task that puts one half of a milestone back."""

    def body(
        _c: Context, milestone: int = 0, to: str = "", plan: bool = False, reason: str = "", who: str = "",
        keys: str = "", out: str = "", storage: str = "directory",
    ) -> None:  # fmt: skip
        from common.snapshots import Part
        from scripts import promote, rollback  # not at the top: a build's own process has no scripts

        with reported():
            how = promote.How(plan=plan, reason=reason, who=who, keys=keys, out=out, storage=storage)
            rollback.run(Part(part), milestone=milestone, to=to, how=how)

    body.__doc__ = f"Put {what} back that was live before."
    words = _without(GO_LIVE, "snapshot", "force")
    return task(name=f"rollback-{part}", help=words)(body)  # type: ignore[no-any-return, unused-ignore]


def _without(words: dict[str, str], *names: str) -> dict[str, str]:
    return {name: text for name, text in words.items() if name not in names}


@task(help={"auto": "needed: what the tests say decides, and nobody looks", **_without(GO_LIVE, "milestone", "snapshot",
                                                                                  "to", "force")})  # fmt: skip
def promote(
    _c: Context, auto: bool = False, plan: bool = False, reason: str = "", who: str = "", keys: str = "", out: str = "",
    storage: str = "directory",
) -> None:  # fmt: skip
    """Make everything live that is green."""
    from scripts import promote as script  # not at the top: a build's own process has no scripts

    with reported():
        if not auto:
            raise UsageError("this promotes every active milestone", hint="--auto; or promote-apt, promote-container")
        script.auto(how=script.How(plan=plan, reason=reason, who=who, keys=keys, out=out, storage=storage))


@task(help={**MILESTONE, "diff": "OLD..NEW: what differs between two snapshots; .. alone: live and staged"})
def staged(_c: Context, milestone: int = 0, diff: str = "", out: str = "", storage: str = "directory") -> None:
    """List what staging has and what may go live."""
    from scripts import staged as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(milestone=milestone, diff=diff, out=out, storage=storage)


@task(help={**MILESTONE, "milestone": "whose; all active ones without it"})
def releases(_c: Context, milestone: int = 0, out: str = "", storage: str = "directory") -> None:
    """Write the page of what is staged and live."""
    from scripts import releases_page as script  # not at the top: a build's own process has no scripts

    with reported():
        print(script.write(milestone=milestone, out=out, storage=storage))


@task(help=MILESTONE)
def history(_c: Context, milestone: int = 0, out: str = "", storage: str = "directory") -> None:
    """Say who made what live; checks the ledgers."""
    from scripts import history as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(milestone=milestone, out=out, storage=storage)


@task(help={**MILESTONE, "live": "the live buckets; else staging"})
def verify(_c: Context, milestone: int = 0, live: bool = False, out: str = "", storage: str = "directory") -> None:
    """Check everything that is recorded, to the byte."""
    from scripts import verify as script  # not at the top: a build's own process has no scripts

    with reported():
        script.run(milestone=milestone, live=live, out=out, storage=storage)


@task(help={"out": MATRIX["out"], "keys": "the throwaway signing key too: what was published is trusted no more"})
def clean(_c: Context, out: str = "", keys: bool = False) -> None:
    """Remove what was made (not the signing key)."""
    with reported():
        desk.clean(out, keys=keys)


ns = Collection(branches, flow_graph, serve, doctor, staged, releases, promote, history, verify, prune, uprev,
                tast_run, tast_record, clean)  # fmt: skip
for _part, _what in (("apt", "the repository"), ("container", "the images")):
    ns.add_task(promote_task(_part, _what))
    ns.add_task(rollback_task(_part, _what))
for _flow in read_flows().flows.values():
    ns.add_task(flow_task(_flow))
for _build in read_flows().builds.values():
    ns.add_task(build_task(_build))
