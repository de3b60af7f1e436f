"""Draws flows with Graphviz: builds as boxes, artifacts as arrows, SVG out."""

import re
from collections.abc import Iterable, Mapping

from common import tools
from kokoro.flows import Flow, Flows, Job
from kokoro.results import Result, State

_FILL = {
    State.PASSED: "#d7f0d8",
    State.UNCHANGED: "#e8f3e8",
    State.FAILED: "#f6c9c6",
    State.TIMED_OUT: "#f6c9c6",
    State.INTERRUPTED: "#f7e6bf",
    State.SKIPPED: "#f7e6bf",
}
_HEAD = """digraph flows {
rankdir=LR; bgcolor=transparent; fontname="sans-serif"; nodesep=0.25; ranksep=0.4;
node [shape=box, style="rounded,filled", fillcolor="#e8eef7", color="#5b7083", fontname="sans-serif", fontsize=12];
edge [color="#5b7083", arrowsize=0.7];
"""


def of_flows(flows: Flows) -> str:
    """The SVG of every flow of flows.toml, each in a frame."""
    clusters = "".join(_cluster(flow) for flow in flows.flows.values())
    return _svg(f"{_HEAD}{clusters}}}\n")


def of_jobs(jobs: Iterable[Job], results: Mapping[str, Result]) -> str:
    """The SVG of one run: its jobs, coloured by how they ended, each a link to its place in the report."""
    lines = []
    for job in jobs:
        fill = _FILL[results[job.name].state] if job.name in results else "#ffffff"
        lines.append(f'"{job.name}" [label="{job.short_name}", fillcolor="{fill}", URL="#{job.short_name}"];')
        lines += [f'"{parent}" -> "{job.name}";' for parent in job.parents]
    body = "\n".join(lines)
    return _svg(f"{_HEAD}{body}\n}}\n")


def _cluster(flow: Flow) -> str:
    nodes = "".join(f'"{flow.name}/{build}" [label="{build}"];\n' for build in flow.after)
    edges = "".join(
        f'"{flow.name}/{parent}" -> "{flow.name}/{build}";\n'
        for build, parents in flow.after.items()
        for parent in _direct(flow, parents)
    )
    return f'subgraph "cluster_{flow.name}" {{\nlabel="{flow.name}"; color="#c3ccd5";\n{nodes}{edges}}}\n'


def _direct(flow: Flow, parents: tuple[str, ...]) -> list[str]:
    """Parents that are not also an ancestor of another parent: the picture shows the order, not every hand-over."""
    further = {
        ancestor for parent in parents for grand in flow.after[parent] for ancestor in flow.with_ancestors(grand)
    }
    return [parent for parent in parents if parent not in further]


def _svg(dot: str) -> str:
    svg = tools.capture(["dot", "-Tsvg"], stdin=dot, timeout=60)
    # What comes before <svg> names the Graphviz version and a DTD on another host; an inline SVG needs neither.
    return re.sub(r"<!--.*?-->\n?", "", svg[svg.index("<svg") :], flags=re.DOTALL)
