"""The page of what is staged, tested and live: all of it is there, escaped, and damage costs no more than itself."""

import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ArtifactError, NetworkError
from common.ledger import Action, Entry
from common.snapshots import Part
from kokoro.results import Out
from lxd.changes import Change, Kind
from scripts import releases_page, rollback
from scripts.differences import Difference
from scripts.overview import Overview, Row, Said, overview
from scripts.promote import How, gate_of, run
from scripts.releases import Half
from tests.scripts.releaseparts import half, make_green, publish, staged

TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # halves of characters, too
SENTENCES = st.lists(TEXT, max_size=2).map(tuple)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions went live, the repository's second one came back, and a third one is staged and not green."""
    place = tmp_path_factory.mktemp("desk")
    how = How(out=str(place), who="<me>", reason="it's <b>good</b>")
    for version in ("72.1", "72.2"):
        publish(place, version)
        make_green(place)
        for part in Part:
            run(part, milestone=72, snapshot="", how=how)
    rollback.run(Part.APT, milestone=72, to="", how=replace(how, reason="no sound"))
    publish(place, "72.3")
    make_green(place, why=("crostini.Basic failed",))
    return place


class Parsed(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, object]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((tag, None))

    def handle_data(self, data: str) -> None:
        self.text += data


def look(desk: Path) -> Parsed:
    path = releases_page.write(milestone=72, out=str(desk), storage="directory")
    assert path == desk / "report" / "releases.html"
    return Parsed(path.read_text())


def test_what_is_staged_tested_live_and_done(desk: Path) -> None:
    page = look(desk)
    for part in Part:
        live = half(desk, part).shown_live()
        assert live is not None
        for wanted in (staged(desk, part).id, live.short, f"gs://{half(desk, part).live.bucket.url[5:]}/72"):
            assert wanted in page.text, wanted
    for wanted in (
        "may not go live", "pfq: not green", "crostini.Basic failed", "dut1", "boot-checks", "<me>", "rollback",
        "no sound", "it's <b>good</b>", "Staged against live", "cros-garcon", "72.1+deb12", "72.3+deb12",
    ):  # fmt: skip
        assert wanted in page.text, wanted
    assert "damaged" not in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert not {name for _, about in page.tags for name, _ in about or ()} & {"src", "onclick", "style"}  # type: ignore[attr-defined]


def test_a_link_leads_to_the_page_of_the_run_where_there_is_one(desk: Path, tmp_path: Path) -> None:
    out = Out(tmp_path)
    assert "index.html" not in releases_page.page([], out)
    out.report.parent.mkdir()
    out.report.write_text("a run")
    assert '<a href="index.html">run</a>' in releases_page.page([], out)


def strings(value: object) -> Iterator[str]:
    """The texts in what a page is made of."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)
    elif hasattr(value, "__dict__"):
        yield from strings(vars(value))


CHANGES = st.builds(Change, kind=st.sampled_from(Kind), package=TEXT, before=TEXT, after=TEXT)
DIFFERENCES = st.builds(
    Difference, name=TEXT, before=TEXT, after=TEXT, changes=st.none() | st.lists(CHANGES, max_size=2).map(tuple)
)
TESTS = st.builds(Said, name=TEXT, when=TEXT, where=TEXT, why=SENTENCES)
ROWS = st.builds(
    Row, id=TEXT, created=TEXT, age=TEXT, job=TEXT, commit=TEXT, marks=SENTENCES, why_not=SENTENCES, damage=SENTENCES,
    tests=st.lists(TESTS, max_size=2).map(tuple), changes=st.lists(DIFFERENCES, max_size=2).map(tuple),
)  # fmt: skip
ENTRIES = st.builds(
    Entry, action=st.sampled_from(Action), who=TEXT, source=TEXT, before=TEXT, after=TEXT, why=TEXT, forced=TEXT,
    when=TEXT, number=st.integers(1, 9),
)  # fmt: skip
OVERVIEWS = st.builds(
    Overview, part=st.sampled_from(Part), milestone=st.integers(69, 99), staging=TEXT, live_url=TEXT,
    staged=st.lists(ROWS, max_size=2).map(tuple), live=st.none() | ROWS,
    ledger=st.lists(ENTRIES, max_size=2).map(tuple), news=st.lists(DIFFERENCES, max_size=1).map(tuple),
    damage=SENTENCES,
)  # fmt: skip


@settings(max_examples=60)
@given(seen=OVERVIEWS, data=st.data())
def test_no_text_becomes_a_tag(tmp_path_factory: pytest.TempPathFactory, seen: Overview, data: st.DataObject) -> None:
    """Whatever a ledger, a snapshot or evidence says: the page has the tags it has with harmless words instead."""
    out = Out(tmp_path_factory.getbasetemp())
    hostile = data.draw(
        st.sampled_from(["<script>alert(1)</script>", "\"><img src=x onerror='x'>", "</table>&lt;", "]]>"])
    )
    where = data.draw(st.sampled_from(sorted({each for each in strings(seen) if each} | {""})))
    # The same words everywhere, once hostile ones and once harmless ones.
    pages = [Parsed(releases_page.page([_replaced(seen, where, word)], out)) for word in (hostile, "x")]
    assert pages[0].tags == pages[1].tags
    if where and where in list(strings(_shown(seen))):
        assert hostile in pages[0].text


def _shown(seen: Overview) -> list[object]:
    """What of it is always on the page as it is."""
    return [seen.staging, seen.live_url, [row.job for row in seen.staged], [entry.who for entry in seen.ledger]]


def _replaced(value: Any, old: str, new: str) -> Any:  # noqa: ANN401, whatever a page is made of
    """A copy with another text in the places of one."""
    if isinstance(value, Action | Kind | Part):
        return value
    if isinstance(value, str):
        return new if value == old and old else value
    if isinstance(value, tuple):
        return tuple(_replaced(each, old, new) for each in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: _replaced(each, old, new) for name, each in vars(value).items()})
    return value


@settings(max_examples=6)
@given(data=st.data())
def test_damage_is_shown_and_breaks_nothing_else(desk: Path, data: st.DataObject) -> None:
    """A byte of a manifest, a ledger, evidence, a signature or an index is another one: the rest is still there."""
    part = data.draw(st.sampled_from(Part))
    buckets = [getattr(half(desk, part), name).bucket.url[5:] for name in ("staging", "live")]
    files = [path for bucket in buckets for path in sorted((desk / "gs" / bucket / "72").rglob("*")) if of_use(path)]
    path = data.draw(st.sampled_from(files))
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    path.rename(beside := path.with_name(f".{path.name}"))
    try:
        path.write_bytes(good[:at] + bytes([byte]) + good[at + 1 :])
        seen = overview(half(desk, part), gate_of(half(desk, part), How(out=str(desk))))
    finally:
        beside.replace(path)
    text = Parsed(releases_page.page([seen], Out(desk))).text
    assert ("damaged: " in text) == seen.damaged
    assert seen.damaged or path.name.endswith((".sig", ".asc")), "some signatures only `invoke verify` looks at"
    assert len(seen.staged) >= 2
    assert seen.ledger or path.name == "ledger.jsonl"


def of_use(path: Path) -> bool:
    """Whether something on the page comes from a file."""
    names = (".json", ".sig", ".jsonl", ".asc", "InRelease")
    passed_over = ("unreferenced.json", "index.json", "cros-archive-keyring.asc")
    return path.name.endswith(names) and path.name not in passed_over


def test_a_ledger_without_its_end(desk: Path) -> None:
    path = desk / "gs/cros-packages/72/ledger.jsonl"
    good = path.read_bytes()
    try:
        path.write_bytes(b"".join(good.splitlines(keepends=True)[:-1]))
        assert "but the ledger ends with" in look(desk).text
        path.write_bytes(json.dumps({"entry": {"who": "\ud800"}}).encode() + b"\n")
        assert "damaged: gs://cros-packages/72/ledger.jsonl, line 1" in look(desk).text
    finally:
        path.write_bytes(good)


def test_a_storage_that_does_not_answer_is_asked_once(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Part] = []

    def away(half: Half, gate: object) -> Overview:
        asked.append(half.part)
        raise NetworkError("gs://cros-packages: the storage does not answer", hint="later")

    monkeypatch.setattr(releases_page, "overview", away)
    page = Parsed(releases_page.write(milestone=72, out=str(tmp_path), storage="directory").read_text())
    assert page.text.count("damaged: gs://cros-packages: the storage does not answer; later") == 2
    assert asked == [Part.APT]


def test_it_is_written_after_a_run(tmp_path: Path) -> None:
    written = tmp_path / "report" / "releases.html"
    with pytest.raises(ArtifactError), releases_page.written_after(out=str(tmp_path), storage="directory"):
        raise ArtifactError("nothing was run", hint="")
    assert not written.exists()
    with releases_page.written_after(out=str(tmp_path), storage="directory"):
        pass
    assert written.exists()
