"""The snapshots of staging: their age, what is new in them, and whether they may go live: what `invoke staged` does."""

import datetime as dt
from collections.abc import Iterator
from pathlib import PurePosixPath

from common.milestones import object_name
from common.snapshots import Part, Snapshot, Snapshots
from lxd.changes import compare
from lxd.contents import FILE as PACKAGES
from lxd.contents import Package, read_table
from lxd.pins import version_of
from scripts.promote import How, gate_of
from scripts.releases import Half

_SHOWN = 10  # changes by name; the rest is counted


def run(*, milestone: int, out: str, storage: str) -> None:
    """Print the snapshots of both halves of a milestone, the newest first.

    Args:
        milestone: whose.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        ArtifactError: a snapshot is not what its id says.
    """
    how = How(out=out, storage=storage)
    for part in Part:
        half = Half.open(part, milestone, out=out, storage=storage)
        snapshots = half.staging.all()
        print(f"{half.staging.url}: " + ("" if snapshots else "nothing was recorded"))
        shown, live = half.staged(), half.shown_live()
        gate = gate_of(half, how)
        for each, before in zip(snapshots, [*snapshots[1:], None], strict=False):
            marks = [name for name, which in (("staged", shown),) if which and which.id == each.id]
            marks += ["live"] if live and each.id in (live.origin.source, live.id) else []
            print(f"  {each.id} {age(each)} old" + (f" ({', '.join(marks)})" if marks else ""))
            for line in changes(half.staging, each, before):
                print(f"    {line}")
            why = gate.why_not(half, each)
            print("    may go live" if not why else "    may not go live:")
            for sentence in why:
                print(f"      {sentence}")


def age(snapshot: Snapshot) -> str:
    """How long ago it was published: `3 d`, `5 h`, `12 min`."""
    minutes = int((dt.datetime.now(dt.UTC) - snapshot.created).total_seconds() // 60)
    days, hours = minutes // (24 * 60), minutes // 60
    return f"{days} d" if days else f"{hours} h" if hours else f"{minutes} min"


def changes(snapshots: Snapshots, snapshot: Snapshot, before: Snapshot | None) -> Iterator[str]:
    """What is in a snapshot that was not in the one before, for people."""
    if before is None:
        yield f"the first one: {len(snapshot.objects)} objects"
        return
    listed = list(_packages(snapshot, before) if snapshot.part is Part.APT else _images(snapshots, snapshot, before))
    yield from listed[:_SHOWN]
    if len(listed) > _SHOWN:
        yield f"and {len(listed) - _SHOWN} more"
    if not listed:
        yield "the same packages"


def _packages(snapshot: Snapshot, before: Snapshot) -> Iterator[str]:
    """The packages of the pool that came and went, by their file names: name_version_arch.deb."""
    names = [{path for path in each.objects if path.startswith("pool/")} for each in (snapshot, before)]
    for sign, paths in (("+", names[0] - names[1]), ("-", names[1] - names[0])):
        yield from (f"{sign} {PurePosixPath(path).stem.replace('_', ' ')}" for path in sorted(paths))


def _images(snapshots: Snapshots, snapshot: Snapshot, before: Snapshot) -> Iterator[str]:
    """The images that have another version, and the packages that changed in each."""
    ours, theirs = versions(snapshot), versions(before)
    for product in sorted(ours.keys() | theirs.keys()):
        old, new = theirs.get(product, ""), ours.get(product, "")
        if old == new:
            continue
        yield f"{product}: {old or 'nothing'} -> {new or 'nothing'}"
        lists = [_list(snapshots, each, product) for each in (before, snapshot)]
        if old and new and lists[0] is not None and lists[1] is not None:
            yield from (f"  {change.kind}: {change}" for change in compare(lists[0], lists[1]))


def versions(snapshot: Snapshot) -> dict[str, str]:
    """The serial of each product in a snapshot of images."""
    return {found.product: found.serial for path in snapshot.objects if (found := version_of(path))}


def _list(snapshots: Snapshots, snapshot: Snapshot, product: str) -> tuple[Package, ...] | None:
    """The packages of an image in a snapshot; None where it has no list, or that is gone."""
    for path in snapshot.objects:
        version = version_of(path)
        if version and version.product == product and path.endswith(f"/{PACKAGES}"):
            held = snapshots.bucket.read(object_name(snapshots.milestone, path))
            return read_table(held.content.decode(errors="replace"), path) if held else None
    return None
