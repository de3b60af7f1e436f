"""A storage that fails during publications, promotions and rollbacks: live is the old snapshot or the new one.

Each example hits one request of one command with one fault. What the command does about it is try again, or refuse with
a sentence; the same command then completes.

FAULTY_REQUESTS=300 looks at so many combinations of a request and a fault; three of each command without it.
"""

import gc
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from common.errors import ArtifactError, ReleaseError
from common.gcs import Patience
from common.shown import Object as Shown
from common.shown import State
from common.snapshots import Part
from common.store import Store
from kokoro.env import KokoroEnv
from scripts import history, promote, rollback, staged, verify
from scripts.promote import How
from scripts.releases import LIVE, STAGING
from tests.common.buckets import EMULATOR_VARIABLE, strict
from tests.common.gcs_stand_in import Fault, Object, Storage
from tests.scripts.releaseparts import BUILDS, clients_find, half, job_of, made, make_green, publish
from tests.scripts.releaseparts import staged as staged_in

# The library leaves the connection of a download it tries again to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BRIEF = Patience(first=0.01, longest=0.05, deadline=0.6, request=0.5)
ALWAYS = 1 << 30
FAULTS = {
    "503": {"status": 503}, "429": {"status": 429}, "500": {"status": 500}, "a reset": {"reset": True},
    "a lost answer": {"lost": True}, "half an answer": {"truncated": True}, "a changed byte": {"flipped": True},
    "a wrong checksum": {"lying": True}, "412": {"status": 412}, "403": {"status": 403}, "404": {"status": 404},
    "silence": {"slow": 0.7}, "503 always": {"status": 503, "times": ALWAYS},
    "resets always": {"reset": True, "times": ALWAYS}, "lost answers always": {"lost": True, "times": ALWAYS},
    "halves always": {"truncated": True, "times": ALWAYS}, "changed bytes always": {"flipped": True, "times": ALWAYS},
    "wrong checksums always": {"lying": True, "times": ALWAYS},
}  # fmt: skip
COMMANDS = [f"{word} {part}" for word in ("promote", "rollback", "publish") for part in Part]
# of each command, by chance
EXAMPLES = -(-int(os.environ.get("FAULTY_REQUESTS", str(3 * len(COMMANDS)))) // len(COMMANDS))
Buckets = dict[str, dict[str, Object]]


@dataclass
class Desk:
    """A desk whose buckets are in the stand-in, and what they are before each command.

    Attributes:
        before: the buckets as each command finds them.
        wanted: what the bucket shows when it is done.
        requests: what it asks for, each request by its action, name, and how many like it came before.
    """

    place: Path
    storage: Storage
    env: KokoroEnv
    before: dict[str, Buckets] = field(default_factory=dict)
    old: dict[str, State] = field(default_factory=dict)
    new: dict[str, State] = field(default_factory=dict)
    requests: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)

    def keep(self) -> Buckets:
        return {name: dict(objects) for name, objects in self.storage.buckets.items()}

    def restore(self, buckets: Buckets) -> None:
        self.storage.faults.clear()
        self.storage.buckets.clear()
        self.storage.buckets.update({name: dict(objects) for name, objects in buckets.items()})
        self.storage.requests.clear()

    def run(self, command: str) -> None:
        word, _, name = command.partition(" ")
        part, how = Part(name), How(out=str(self.place), who="me", storage="gcs", keys=str(self.env.keystore_dir))
        commands: dict[str, Callable[[], None]] = {
            "promote": lambda: promote.run(part, milestone=72, snapshot="", how=how),
            "rollback": lambda: rollback.run(part, milestone=72, to="", how=how),
            "publish": lambda: BUILDS[part].build(job_of(self.env, part)),
        }
        commands[word]()

    def history(self) -> None:
        history.run(milestone=72, out=str(self.place), storage="gcs")

    def state(self, command: str) -> State:
        """What the bucket that a command publishes to shows. ArtifactError: it is not whole."""
        found = half(self.place, Part(command.partition(" ")[2]), "gcs")
        state = found.state(found.staging.bucket if command.startswith("publish") else found.live.bucket)
        assert state is not None
        return state

    def whole(self, command: str) -> State | None:
        """The same; None where the command has only begun to replace what is beside a pointer."""
        try:
            return self.state(command)
        except ArtifactError as err:
            if "was interrupted (run it again)" in err.what:
                return None
            raise

    def wrong(self, command: str) -> list[str]:
        """What verify finds."""
        try:
            verify.run(milestone=72, live=not command.startswith("publish"), out=str(self.place), storage="gcs")
        except ArtifactError as err:
            return err.details.splitlines()
        return []


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """72.1 and 72.2 were promoted, 72.3 is staged and green, and 72.4 is made."""
    place = tmp_path_factory.mktemp("desk")
    with strict(place / "gs") as at, pytest.MonkeyPatch.context() as patch:
        assert at.storage is not None
        patch.setenv(EMULATOR_VARIABLE, at.url)
        patch.setattr("common.bucket_gcs.Patience", lambda: BRIEF)
        patch.setattr("common.publication.CLAIM", 0.1)
        at.storage.buckets.update({name: {} for names in (STAGING, LIVE) for name in names.values()})
        desk = Desk(place, at.storage, made(place, "72.1", store=Store()))
        for version in ("72.1", "72.2", "72.3"):
            publish(place, version, store=Store())
            make_green(place, storage="gcs")
            if version != "72.3":
                for part in Part:
                    desk.run(f"promote {part}")
        desk.env = made(place, "72.4", store=Store())
        start = desk.keep()
        for command in COMMANDS:
            desk.restore(start)
            desk.before[command], desk.old[command] = desk.keep(), desk.state(command)
            desk.storage.requests.clear()
            desk.run(command)
            desk.requests[command] = numbered(desk.storage)
            desk.new[command] = desk.state(command)
            assert desk.wrong(command) == []
        yield desk
    gc.collect()


def numbered(storage: Storage) -> list[tuple[str, str, int]]:
    """The requests; of names that are others each time, with a digest or a serial in them, what comes before that."""
    found: list[tuple[str, str, int]] = []
    for request in storage.requests:
        if request.action != "bucket":
            one = (request.action, re.split(r"[0-9a-f]{64}|[0-9]{8}_[0-9]", request.name)[0])
            found.append((*one, sum(each[:2] == one for each in found)))
    return found


def kind_of(request: tuple[str, str, int]) -> str:
    """Requests of one kind: those that differ in nothing but the package, the release and the architecture."""
    action, name, _ = request
    return f"{action} " + re.sub(r"binary-[^/]*", "binary", re.sub(r"pool/.*", "pool", name)).replace(
        "trixie", "bookworm"
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", COMMANDS)
def test_live_is_the_old_snapshot_or_the_new_one(desk: Desk, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    dice, said, wrong = random.Random(), Counter[str](), list[str]()
    kinds: dict[str, list[tuple[str, str, int]]] = {}
    for request in desk.requests[command]:
        kinds.setdefault(kind_of(request), []).append(request)
    for _ in range(EXAMPLES):
        request, fault = dice.choice(kinds[dice.choice(sorted(kinds))]), dice.choice(sorted(FAULTS))
        try:
            said[check(desk, command, request, fault)] += 1
        except (AssertionError, ReleaseError) as err:
            wrong.append(f"{command}, {fault!r} at {request}: {err!r}")
            with capsys.disabled():
                print(f"\n{wrong[-1]}")
    with capsys.disabled():
        print(f"\n{command}: {dict(said)}, {len(wrong)} wrong")
    assert wrong == []


def check(desk: Desk, command: str, request: tuple[str, str, int], fault: str) -> str:
    """Hit one request of a command; what came of it."""
    action, name, after = request
    desk.restore(desk.before[command])
    desk.storage.faults.append(Fault(action, name=name, after=after, **FAULTS[fault]))  # type: ignore[arg-type]
    err = refusal(lambda: desk.run(command))
    said = type(err).__name__ if err else "done"
    if err:
        assert "gs://" in err.what, f"nothing says where: {err.what}"
        assert err.hint, f"nothing says what to do about {err.what}"
    desk.storage.faults.clear()
    state, wrong = desk.whole(command), desk.wrong(command)
    for pointer in state.pointers if state else ():
        assert state is not None
        is_whole(state, pointer, desk.old[command], desk.new[command], command)
    assert [sentence for sentence in wrong if "was interrupted (run it again)" not in sentence] == [], err
    is_new = state is not None and not wrong and contents(state) == contents(desk.new[command])
    assert err or is_new
    if not is_new:
        desk.run(command)
        assert desk.wrong(command) == []
        assert contents(desk.state(command)) == contents(desk.new[command])
    return said


def refusal(run: Callable[[], None]) -> ReleaseError | None:
    """The error of ours with which something is refused."""
    try:
        run()
    except ReleaseError as err:
        return err
    return None


def is_whole(state: State, pointer: str, old: State, new: State, command: str) -> None:
    """What a client finds from a pointer on is all of the old snapshot or all of the new one."""
    folder = pointer.rpartition("/")[0]
    seen = [
        {path: each for path, each in contents(one).items() if path.startswith(folder)} for one in (state, old, new)
    ]
    assert seen[0] in seen[1:], f"{pointer} after {command}"


def contents(state: State) -> Mapping[str, Shown]:
    """What does not change when a repository is signed anew, nor when an image gets another serial."""
    serial = re.compile(r"/[0-9]{8}_[^/]*/")
    return {
        serial.sub("/SERIAL/", path): each for path, each in state.objects.items()
        if not path.endswith(("Release", "Release.gpg", "InRelease", ".json"))
    }  # fmt: skip


class Written(dict[str, Object]):
    """The objects of a bucket, which are looked at after every write."""

    def __init__(self, objects: Mapping[str, Object], look: Callable[["Written"], None]) -> None:
        super().__init__(objects)
        self.look = look

    def __setitem__(self, name: str, one: Object) -> None:
        super().__setitem__(name, one)
        self.look(self)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self.look(self)


@pytest.mark.parametrize("command", ["promote apt", "rollback apt"])
def test_each_release_of_debian_is_whole_at_every_moment(desk: Desk, command: str) -> None:
    desk.restore(desk.before[command])
    live, seen, wrong = desk.storage.buckets[LIVE[Part.APT]], set[tuple[bytes, ...]](), list[AssertionError]()

    def look(objects: Written) -> None:
        try:
            clients_find(bytes_of(objects))
        except AssertionError as err:
            wrong.append(err)
        seen.add(inreleases(objects))

    desk.storage.buckets[LIVE[Part.APT]] = Written(live, look)
    desk.run(command)
    assert wrong == []
    (one, two), (new_one, new_two) = inreleases(live), inreleases(desk.storage.buckets[LIVE[Part.APT]])
    assert seen == {(one, two), (new_one, two), (new_one, new_two)}, "one after the other"


def bytes_of(objects: Mapping[str, Object]) -> dict[str, bytes]:
    return {name: one.content for name, one in objects.items()}


def inreleases(objects: Mapping[str, Object]) -> tuple[bytes, ...]:
    """What clients begin with."""
    return tuple(objects[f"72/dists/{codename}/InRelease"].content for codename in ("bookworm", "trixie"))


@pytest.mark.parametrize(
    ("command", "within"), [("promote apt", False), ("promote apt", True), ("rollback apt", False)]
)  # fmt: skip
def test_one_release_of_debian_went_on_and_the_other_did_not(
    desk: Desk, command: str, within: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within: what is beside the second InRelease was replaced, and it was not."""
    desk.restore(desk.before[command])
    before = inreleases(desk.storage.buckets[LIVE[Part.APT]])
    source = half(desk.place, Part.APT, "gcs").staging
    name = "72/dists/trixie/InRelease"
    if within:
        name = source.kept(staged_in(desk.place, Part.APT, "gcs").objects["dists/trixie/InRelease"].sha256)
    desk.storage.faults.append(Fault("rewrite", name=name, status=403, times=ALWAYS))
    err = refusal(lambda: desk.run(command))
    assert err is not None
    assert err.what == "gs://cros-packages/72/dists/trixie/InRelease: no right to do this"
    desk.storage.faults.clear()
    objects = desk.storage.buckets[LIVE[Part.APT]]
    assert [one == two for one, two in zip(inreleases(objects), before, strict=True)] == [False, True]
    clients_find(bytes_of(objects))
    said = "was interrupted (run it again)"
    assert [said in line for line in desk.wrong(command)] == [True, True]
    with pytest.raises(ArtifactError) as caught:
        desk.history()
    assert said in caught.value.details
    for diff in ("", ".."):
        capsys.readouterr()
        with pytest.raises(ArtifactError, match=re.escape(said)):
            staged.run(milestone=72, diff=diff, out=str(desk.place), storage="gcs")
        assert capsys.readouterr().out.count("    may go live\n") == (0 if diff else 6), "three of each half"
    half_way = desk.keep()
    for then in ("promote apt", "rollback apt"):
        desk.restore(half_way)
        desk.run(then)
        assert desk.wrong(then) == []
        undone = (command, then) == ("promote apt", "rollback apt")
        assert contents(desk.state(then)) == contents(desk.old[then] if undone else desk.new[then])
        desk.history()


def test_a_fault_that_nobody_minds_is_found_by_these_checks(desk: Desk) -> None:
    """Break it on purpose: a byte of a live package that is another one is a finding."""
    command = "promote apt"
    desk.restore(desk.before[command])
    objects = desk.storage.buckets[LIVE[Part.APT]]
    name = next(name for name in objects if name.endswith(".deb"))
    objects[name] = replace(objects[name], content=b"x" + objects[name].content[1:])
    assert any(name in sentence for sentence in desk.wrong(command))
