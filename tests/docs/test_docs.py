"""The documents against the tree: commands, flags, links, and the picture of the flows."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import nox.registry
import pytest
from invoke.collection import Collection

import noxfile  # noqa: F401, registers the sessions
import tasks
from common.files import ROOT
from kokoro import graph
from kokoro.flows import read_flows

pytestmark = pytest.mark.docs

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What CONTRIBUTING.md adds as its example.
EXAMPLES = {"apt-diff"}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every ./run command in a document, in a block or in back quotes."""
    for document in DOCUMENTS:
        text = re.sub(r"\\\n\s*", "", document.read_text())
        for found in re.findall(r"`(\./run [^`]+)`|^ {4,}.*?(\./run [^#\n]+)|^(\./run [^#\n]+)", text, re.MULTILINE):
            yield document.name, shlex.split(next(filter(None, found)).strip())


COMMANDS = list(commands())


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 15


@pytest.mark.parametrize(
    ("document", "words"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_a_command_of_a_document_exists(document: str, words: list[str]) -> None:
    match words[1:]:
        case ["invoke", "--list"]:
            return
        case ["invoke", name, *rest] if name not in EXAMPLES:
            task = Collection.from_module(tasks)[name]
            flags = {flag for argument in task.get_arguments(ignore_unknown_help=True) for flag in argument.names}
            for word in rest:
                if word.startswith("--"):
                    assert word.removeprefix("--").removeprefix("no-") in flags, f"{document}: {name} has no {word}"
        case ["nox", *rest]:
            sessions = nox.registry.get()
            names = rest[1:] if rest[:1] == ["-s"] else []
            for name in names:
                if name.startswith("-"):
                    break
                assert name in sessions, f"{document}: no session {name}"
        case ["invoke", *_] | ["true"]:
            return
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), f"{document}: no script {script}"
        case _:
            pytest.fail(f"{document}: {' '.join(words)}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_document_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs" / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in contents, path.name


def test_every_exit_code_is_in_the_table() -> None:
    from common.errors import ReleaseError

    table = (ROOT / "docs" / "running.md").read_text()
    said = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    assert said >= {kind.exit_code for kind in ReleaseError.__subclasses__()}


def test_the_picture_is_of_these_flows() -> None:
    """Graphviz versions place boxes differently; what is drawn is what counts."""

    def drawn(svg: str) -> list[str]:
        return sorted(re.findall(r"<title>(.*?)</title>", svg))

    picture = (ROOT / "docs" / "images" / "flows.svg").read_text()
    assert drawn(picture) == drawn(graph.of_flows(read_flows())), (
        "./run invoke flow-graph --output docs/images/flows.svg"
    )


def test_the_readme_is_short() -> None:
    words = len((ROOT / "README.md").read_text().split())
    assert words < 450, f"{words} words are more than two minutes"
