"""out/report/index.html: a self-contained page: the flow drawn, each job's result, log, tests and artifacts."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import jinja2

from common.errors import ArtifactError
from common.files import write_atomically
from common.manifest import Entry
from kokoro import graph
from kokoro.display import seconds, size
from kokoro.flows import Job
from kokoro.results import Out, Place, Result, State

LOG_LINES = 3000
PAGES = Path(__file__).parent  # with the templates
RUN, RELEASES = "run", "releases"


@dataclass(frozen=True)
class Test:
    """One test case of a job's sponge_log.xml; `failure` is "" when it passed."""

    name: str
    seconds: float
    failure: str


@dataclass(frozen=True)
class Section:
    """What the page shows of one job; `changes` is what a publication says is new in it."""

    result: Result
    log: str
    tests: tuple[Test, ...]
    artifacts: tuple[Entry, ...]
    changes: str


def page(templates: Sequence[Path], name: str, *, title: str, here: str, out: Out, **content: object) -> str:
    """A page of the report: everything in it is escaped, and nothing is loaded from anywhere.

    Args:
        templates: the folders with the templates, in the order they are looked through.
        name: which one.
        title: of the page.
        here: RUN or RELEASES; a link leads to the other one, where that has been written.
        out: where the pages are.
        content: for the template.
    """
    other = {RUN: out.releases, RELEASES: out.report}[here]
    pages = [(each, path.name if each != here else "") for each, path in ((RUN, out.report), (RELEASES, out.releases))]
    made = _environment(*templates).get_template(name).render(
        title=title, made=datetime.now(UTC).isoformat(timespec="seconds"), pages=pages if other.exists() else [],
        **content,
    )  # fmt: skip
    # JSON has forms for halves of characters, which are in no text.
    return made.encode(errors="replace").decode()


@functools.cache
def _environment(*templates: Path) -> jinja2.Environment:
    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=jinja2.FileSystemLoader(templates)
    )
    made.filters |= {"bytes": size, "seconds": seconds}
    return made


def write(title: str, jobs: Sequence[Job], results: Mapping[str, Result], urls: Sequence[str], out: Out) -> Path:
    """Write the page and return where it is.

    Args:
        title: the flow and the branch.
        jobs: in order.
        results: by the job's whole name.
        urls: what was published, as gs:// URLs.
        out: where results are read from and the page goes.
    """
    made = page(
        [PAGES], "report.html.j2", title=title, here=RUN, out=out, svg=graph.of_jobs(jobs, results),
        sections=[_section(results[job.name], out.place(job.name)) for job in jobs if job.name in results], urls=urls,
    )  # fmt: skip
    write_atomically(out.report, made)
    return out.report


def _section(result: Result, place: Place) -> Section:
    try:
        artifacts = place.manifest().entries if result.state.good else ()
    except ArtifactError:
        artifacts = ()
    # What lies there may be of an earlier run, when this one did not get to run the job.
    ours = result.state in (State.PASSED, State.UNCHANGED) or place.read_result() == result
    log = place.log.read_text(errors="replace").splitlines() if ours and place.log.exists() else []
    left_out = len(log) - LOG_LINES
    if left_out > 0:
        log = [f"... {left_out} lines left out; all of them: {place.log}", *log[left_out:]]
    changes = place.artifacts / "changes.txt"
    return Section(
        result,
        log="\n".join(log),
        tests=read_tests(place.tests) if ours else (),
        artifacts=artifacts,
        changes=changes.read_text() if artifacts and changes.exists() else "",
    )


def read_tests(xml: Path) -> tuple[Test, ...]:
    """The test cases of a JUnit file that a build of ours wrote; none where there is no such file or it is cut off."""
    try:
        root = ElementTree.parse(xml).getroot()
    except (OSError, ElementTree.ParseError):
        return ()
    return tuple(
        Test(
            f"{case.get('name', '?')} ({suite.get('name', '?')})",
            float(case.get("time", 0)),
            "\n".join(
                (bad.get("message") or "") + "\n" + (bad.text or "") for bad in case if bad.tag in ("failure", "error")
            ),
        )
        for suite in root.iter("testsuite")
        for case in suite.iter("testcase")
    )
