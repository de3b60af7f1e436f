"""What was begun and not finished, whoever is faster, and clocks: the ledger says what happened, and nothing else."""

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.aptrepo import indices_of
from common.errors import ArtifactError, ConflictError, NetworkError, SigningError, UsageError
from common.ledger import Action, Entry, Ledger, Line
from common.publication import Item, _Publication
from common.snapshots import Part
from scripts import history, promote, resign, rollback, staged, verify
from scripts.promote import How
from scripts.rollback import before_live
from tests.scripts.releaseparts import half, make_green, publish

PROMOTE, ROLLBACK = Action.PROMOTE, Action.ROLLBACK
OTHER_BUCKETS = {Part.APT: "cros-packages", Part.CONTAINER: "cros-containers"}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A desk on which 72.1 and 72.2 were promoted."""
    for version in ("72.1", "72.2"):
        publish(tmp_path, version)
        make_green(tmp_path)
        for part in Part:
            go_live(tmp_path, part)
    return tmp_path


def go_live(desk: Path, part: Part, who: str = "me") -> None:
    promote.run(part, milestone=72, snapshot="", how=How(out=str(desk), who=who))


def put_back(desk: Path, part: Part, to: str = "") -> None:
    rollback.run(part, milestone=72, to=to, how=How(out=str(desk), who="me"))


def actions(desk: Path, part: Part) -> list[Action]:
    return [line.entry.action for line in half(desk, part).ledger.lines()]


def shown(desk: Path, part: Part) -> str:
    """What clients install: all but dates, signatures and indices of indices."""
    pointer = "dists/bookworm/InRelease" if part is Part.APT else "streams/v1/images.json"
    text = (desk / "gs" / OTHER_BUCKETS[part] / "72" / pointer).read_text()
    return str(indices_of(text)) if part is Part.APT else text


def interrupted(monkeypatch: pytest.MonkeyPatch, run: Callable[[], None], what: str) -> None:
    """Run something whose storage goes away at the ledger, or before the record."""

    def away(*_: object, **__: object) -> None:
        raise NetworkError("gs://cros-packages: the storage does not answer", hint="later")

    with monkeypatch.context() as patch:
        patch.setattr(*((Ledger, "append", away) if what == "ledger" else (promote, "record", away)))
        with pytest.raises(NetworkError):
            run()


@pytest.mark.parametrize("what", ["ledger", "record"])
@pytest.mark.parametrize("part", Part)
def test_an_interrupted_rollback_is_finished_by_the_same_command(
    desk: Path, part: Part, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = shown(desk, part)
    interrupted(monkeypatch, lambda: put_back(desk, part), what)
    older = shown(desk, part)
    assert older != newer
    assert actions(desk, part) == [PROMOTE, PROMOTE]
    put_back(desk, part)
    assert shown(desk, part) == older
    assert actions(desk, part) == [PROMOTE, PROMOTE, ROLLBACK]
    history.run(milestone=72, out=str(desk), storage="directory")
    verify.run(milestone=72, live=True, out=str(desk), storage="directory")


@pytest.mark.parametrize("part", Part)
def test_a_rollback_of_an_interrupted_promotion_goes_back_by_one(
    desk: Path, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = shown(desk, part)
    publish(desk, "72.3")
    make_green(desk)
    interrupted(monkeypatch, lambda: go_live(desk, part), "record")
    assert shown(desk, part) != second
    put_back(desk, part)
    assert shown(desk, part) == second
    assert actions(desk, part) == [PROMOTE, PROMOTE, ROLLBACK]
    history.run(milestone=72, out=str(desk), storage="directory")


def test_what_nobody_known_made_live_asks_for_an_id(desk: Path) -> None:
    found = half(desk, Part.CONTAINER)
    first, second = (line.entry.after for line in found.ledger.lines())
    pointer = desk / "gs/cros-containers/72/streams/v1/images.json"
    pointer.unlink()
    index = found.live.find(first).objects["streams/v1/images.json"]
    pointer.write_bytes(found.live.read_kept(index.sha256).content)
    with pytest.raises(UsageError, match="shows something that is not in its ledger") as caught:
        put_back(desk, Part.CONTAINER)
    assert f"--to {second[:12]}" in caught.value.hint
    put_back(desk, Part.CONTAINER, to=second)
    history.run(milestone=72, out=str(desk), storage="directory")


def line(number: int, action: Action, source: str, before: str, after: str) -> Line:
    entry = Entry(action=action, who="me", source=source, before=before, after=after, number=number)
    return Line(entry, b"", "")


def test_images_that_went_back_twice_to_the_same() -> None:
    """A live snapshot of images keeps its id when it is put back, so that it is in the ledger several times."""
    lines = [
        line(1, PROMOTE, "s0", "", "a"), line(2, PROMOTE, "s1", "a", "b"), line(3, PROMOTE, "s2", "b", "c"),
        line(4, ROLLBACK, "b", "c", "b"), line(5, PROMOTE, "s2", "b", "c"), line(6, ROLLBACK, "b", "c", "b"),
    ]  # fmt: skip
    assert [before_live(lines[:end]) for end in (2, 3, 4, 5, 6)] == ["a", "b", "a", "b", "a"]


def test_what_was_put_back_and_never_promoted() -> None:
    lines = [line(1, PROMOTE, "s0", "", "a"), line(2, ROLLBACK, "x", "a", "x")]
    with pytest.raises(UsageError, match="does not say when x was promoted"):
        before_live(lines)


def test_who_is_faster_is_in_the_ledger_and_the_other_one_hears_of_it(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our publication and our record somebody puts the images back."""
    publish(desk, "72.3")
    make_green(desk)
    ours = promote.record

    def late(*given: object) -> object:
        monkeypatch.setattr(promote, "record", ours)
        first = half(desk, Part.CONTAINER).ledger.lines()[0].entry.after
        rollback.run(Part.CONTAINER, milestone=72, to=first, how=How(out=str(desk), who="she"))
        return ours(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(promote, "record", late)
    with pytest.raises(ConflictError, match="was changed by 'rollback by she' before it was recorded"):
        go_live(desk, Part.CONTAINER)
    assert actions(desk, Part.CONTAINER) == [PROMOTE, PROMOTE, ROLLBACK]
    history.run(milestone=72, out=str(desk), storage="directory")
    verify.run(milestone=72, live=True, out=str(desk), storage="directory")


def test_what_was_put_back_is_not_promoted_by_the_timer(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in Part:
        put_back(desk, part)
    older = {part: shown(desk, part) for part in Part}
    capsys.readouterr()
    promote.auto(how=How(out=str(desk), who="timer"))
    assert capsys.readouterr().out.count("it was live, and me put an earlier one back") == 2
    assert {part: shown(desk, part) for part in Part} == older
    for part in Part:  # somebody may
        go_live(desk, part)
    assert all(shown(desk, part) != older[part] for part in Part)
    promote.auto(how=How(out=str(desk), who="timer"))
    assert capsys.readouterr().out.count("is live already") == 2


def test_a_repository_that_was_signed_anew_is_live_as_what_it_was(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = half(desk, Part.APT)
    oldest = found.staging.all()[-1]
    put_back(desk, Part.APT)
    promote.run(Part.APT, milestone=72, snapshot=oldest.id, how=How(out=str(desk), who="me"))
    assert f"{oldest.short} is live already" in capsys.readouterr().out
    assert oldest.id in found.sources(found.shown_live())


@pytest.mark.parametrize(("behind", "refused"), [(1.0, False), (3600.0, True)])
def test_a_clock_that_is_behind(behind: float, refused: bool) -> None:
    """apt passes over an InRelease that is older than what it has seen: better none than that."""
    date = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=behind)
    if refused:
        with pytest.raises(SigningError, match=r"this machine's clock is 3\d\d\d s behind"):
            resign._wait_for(date)
    else:
        resign._wait_for(date)
        assert dt.datetime.now(dt.UTC) >= date


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[2J", "\udc80"])
@pytest.mark.parametrize("word", ["who", "reason"])
def test_what_goes_into_the_ledger_is_one_line_of_text(word: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{word} .* is not one line of text"):
        How(**{word: text})  # type: ignore[arg-type]


@pytest.mark.parametrize("part", Part)
def test_two_at_once(desk: Path, part: Part) -> None:
    """One is promoted while another one is put back: the ledger ends with what is live, or says that it does not."""
    publish(desk, "72.3")
    make_green(desk)
    first = half(desk, part).ledger.lines()[0].entry.after
    for _ in range(3):
        begin = threading.Barrier(2)

        def run(act: Callable[[], None], begin: threading.Barrier = begin) -> str:
            begin.wait(timeout=60)
            try:
                act()
            except ConflictError as err:
                return err.what
            return ""

        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(run, lambda: put_back(desk, part, to=first)),
                pool.submit(run, lambda: go_live(desk, part)),
            ]  # fmt: skip
            said = [each.result(timeout=120) for each in both]
        assert half(desk, part).state(half(desk, part).live.bucket) is not None  # raises where it is not whole
        if part is Part.APT and all(said):  # of two releases each one has won one
            go_live(desk, part)
        assert not all(said) or part is Part.APT, said
        history.run(milestone=72, out=str(desk), storage="directory")
        verify.run(milestone=72, live=True, out=str(desk), storage="directory")


@pytest.mark.parametrize("act", [go_live, put_back])
@pytest.mark.parametrize("part", Part)
def test_what_was_interrupted_just_before_the_pointer(
    desk: Path, part: Part, act: Callable[[Path, Part], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside the pointer is replaced, and the pointer only claimed: clients see the old state."""
    publish(desk, "72.3")
    make_green(desk)
    before, pointer = shown(desk, part), "InRelease" if part is Part.APT else "images.json"
    monkeypatch.setattr("common.publication.CLAIM", 0.1)

    def away(upload: Callable[..., object]) -> Callable[..., object]:
        def call(self: object, item: Item, *given: object) -> object:
            if item.name.endswith(f"/{pointer}"):
                raise NetworkError("gs://cros-packages: the storage does not answer", hint="later")
            return upload(self, item, *given)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(_Publication, "_upload", away(_Publication._upload))
        with pytest.raises(NetworkError):
            act(desk, part)
    assert shown(desk, part) == before
    if part is Part.APT:  # the index of indices of images stays the same
        with pytest.raises(ArtifactError) as caught:
            verify.run(milestone=72, live=True, out=str(desk), storage="directory")
        assert "was interrupted (run it again)" in caught.value.details
    act(desk, part)
    assert shown(desk, part) != before
    assert len(actions(desk, part)) == 3
    verify.run(milestone=72, live=True, out=str(desk), storage="directory")


def test_what_is_damaged_elsewhere_holds_nothing_up(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An old manifest, and the other half's ledger: a rollback is urgent, and verify names them."""
    publish(desk, "72.3")
    make_green(desk)
    for part in Part:
        go_live(desk, part)
        oldest = half(desk, part).live.all()[-1]
        damage(desk / "gs" / OTHER_BUCKETS[part] / f"72/snapshots/{oldest.id}.json")
    newest = shown(desk, Part.APT)
    put_back(desk, Part.APT)
    assert shown(desk, Part.APT) != newest
    damage(desk / "gs/cros-packages/72/ledger.jsonl")
    capsys.readouterr()
    with pytest.raises(ArtifactError, match="does not say what happened") as caught:
        history.run(milestone=72, out=str(desk), storage="directory")
    assert "gs://cros-packages/72/ledger.jsonl, line " in caught.value.details
    assert capsys.readouterr().out.count(": promote ") == 3  # of the images
    with pytest.raises(ArtifactError) as caught:
        verify.run(milestone=72, live=True, out=str(desk), storage="directory")
    for part in Part:
        assert f"gs://{OTHER_BUCKETS[part]}/72/snapshots/" in caught.value.details
    oldest = half(desk, Part.APT).staging.all()[-1]
    damage(desk / f"gs/cros-packages-staging/72/snapshots/{oldest.id}.json")
    with pytest.raises(ArtifactError, match=f"{oldest.id}.json is missing, or not what its name says"):
        staged.run(milestone=72, diff="", out=str(desk), storage="directory")
    assert f"  {half(desk, Part.CONTAINER).staging.all()[0].id} " in capsys.readouterr().out


def damage(path: Path) -> None:
    """Another byte in the middle, in a file of its own."""
    content = path.read_bytes()
    path.unlink()
    at = len(content) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
