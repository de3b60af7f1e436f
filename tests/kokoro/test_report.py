from pathlib import Path

import pytest

from common.branches import find_branch
from common.manifest import Manifest
from kokoro import graph, report
from kokoro.flows import CONTINUOUS, Job, Selection, read_flows
from kokoro.results import Out, Result, State

JUNIT = """<testsuites><testsuite name="s" tests="2" failures="1">
<testcase name="system" time="1.5"/>
<testcase name="gpu" time="2"><failure message="SOMMELIER_GLAMOR is &lt;unset&gt;">journal &amp; more</failure>
</testcase>
</testsuite></testsuites>"""


def jobs() -> tuple[Job, ...]:
    selection = Selection.of(find_branch("main"), releases=["bookworm"], native_arch="amd64")
    return read_flows().jobs(CONTINUOUS, selection)


@pytest.fixture
def out(tmp_path: Path) -> Out:
    return Out(tmp_path)


def finish(out: Out, job: Job, state: State) -> Result:
    place = out.place(job.name)
    place.artifacts.mkdir(parents=True)
    (place.artifacts / "file.deb").write_text("x")
    Manifest.of(place.artifacts).write(place.manifest_file)
    place.log.write_text("first line\n<b>not bold</b>\n")
    place.tests.write_text(JUNIT)
    return Result(job=job.name, state=state, message="it broke" if state is State.FAILED else "", command=job.command())


def test_the_page_has_each_jobs_result_log_tests_and_artifacts(out: Out) -> None:
    first, second, *_ = jobs()
    results = {first.name: finish(out, first, State.PASSED), second.name: finish(out, second, State.FAILED)}
    page = report.write("continuous of main", jobs(), results, ["gs://cros-packages-staging/74"], out).read_text()
    for wanted in (
        "continuous of main", "gs://cros-packages-staging/74", "<svg", 'id="guest_tools"', 'href="#apt_repo"',
        "file.deb", "first line", "&lt;b&gt;not bold", "SOMMELIER_GLAMOR is &lt;unset&gt;", "journal &amp; more",
        "it broke", "./run invoke apt-repo --branch main",
    ):  # fmt: skip
        assert wanted in page, wanted
    assert "<script" not in page
    assert "src=" not in page


def test_what_a_publication_says_is_new_is_on_the_page(out: Out) -> None:
    [job, *_] = jobs()
    result = finish(out, job, State.PASSED)
    (out.place(job.name).artifacts / "changes.txt").write_text("bash 1 -> 2\n")
    page = report.write("t", [job], {job.name: result}, [], out).read_text()
    assert "<pre>bash 1 -&gt; 2\n</pre>" in page


def test_a_long_log_is_cut_at_its_beginning(out: Out) -> None:
    [job, *_] = jobs()
    result = finish(out, job, State.PASSED)
    out.place(job.name).log.write_text("".join(f"line {number}\n" for number in range(report.LOG_LINES + 10)))
    page = report.write("t", [job], {job.name: result}, [], out).read_text()
    assert "10 lines left out" in page
    assert "line 9\n" not in page
    assert f"line {report.LOG_LINES + 9}" in page


def test_tests_are_read_from_junit(tmp_path: Path) -> None:
    xml = tmp_path / "sponge_log.xml"
    xml.write_text(JUNIT)
    assert [(test.name, test.seconds, bool(test.failure)) for test in report.read_tests(xml)] == [
        ("system (s)", 1.5, False),
        ("gpu (s)", 2.0, True),
    ]
    xml.write_text(JUNIT[:100])
    assert report.read_tests(xml) == ()
    assert report.read_tests(tmp_path / "none.xml") == ()


def test_the_drawing_of_a_run_has_its_jobs_and_arrows() -> None:
    svg = graph.of_jobs(jobs(), {})
    for job in jobs():
        assert f">{job.short_name}<" in svg
    assert svg.count('class="edge"') == sum(len(job.parents) for job in jobs())


def test_the_drawing_of_the_flows_shows_every_flow_and_build_once() -> None:
    flows = read_flows()
    svg = graph.of_flows(flows)
    assert svg.startswith("<svg")
    for flow in flows.flows.values():
        assert svg.count(f">{flow.name}<") == 1
        for build in flow.after:
            assert f">{build}<" in svg
