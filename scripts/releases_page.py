"""out/report/releases.html: what is staged, tested and live of each milestone, who did that, and what is new in it."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.branches import active_branches
from common.errors import ReleaseError
from common.files import write_atomically
from common.snapshots import SHORT, Part
from kokoro import report
from kokoro.desk import out_directory
from kokoro.results import Out
from scripts.overview import Overview, overview
from scripts.promote import How, gate_of
from scripts.releases import Half

TEMPLATE = "releases.html.j2"
_HERE = Path(__file__).parent


def write(*, milestone: int, out: str, storage: str) -> Path:
    """Write the page, and return where it is. What cannot be read is on it.

    Args:
        milestone: whose; 0 for all active ones.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        UsageError: there is no such milestone, or an unknown storage.
    """
    milestones = [milestone] if milestone else [branch.milestone for branch in active_branches()]
    halves = [Half.open(part, each, out=out, storage=storage) for each in milestones for part in Part]
    where = Out(out_directory(out))
    write_atomically(where.releases, page(list(_looked_at(halves, How(out=out, storage=storage))), where))
    return where.releases


@contextlib.contextmanager
def written_after(*, out: str, storage: str) -> Iterator[None]:
    """Write the page, for all active milestones, beside that of a run, when this is over, whether it passed or not."""
    try:
        yield
    except ReleaseError:
        if Out(out_directory(out)).report.exists():
            write(milestone=0, out=out, storage=storage)
        raise
    write(milestone=0, out=out, storage=storage)


def page(overviews: Sequence[Overview], out: Out) -> str:
    """The page as HTML."""
    return report.page(
        [_HERE, report.PAGES], TEMPLATE, title="releases", here=report.RELEASES, out=out, overviews=overviews,
        short=SHORT,
    )  # fmt: skip


def _looked_at(halves: Sequence[Half], how: How) -> Iterator[Overview]:
    lost = ""
    for half in halves:
        if not lost:
            try:
                yield overview(half, gate_of(half, how))
                continue
            except ReleaseError as err:  # a storage that does not answer is not asked for the others
                lost = f"{err.what}; {err.hint}"
        yield Overview(
            part=half.part, milestone=half.milestone, staging=half.staging.url, live_url=half.live.url, damage=(lost,)
        )
