"""What a bucket shows of a milestone at one moment: every object that a client may ask for, and what it begins with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from common import publication
from common.bucket import Bucket, Stat
from common.errors import ArtifactError, ConflictError, DeadlineError
from common.milestones import object_name, url_of
from common.parallel import in_parallel
from common.waiting import wait_until

_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Object:
    """A published object: its size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str

    @classmethod
    def of(cls, stat: Stat) -> "Object":
        """What a bucket holds."""
        return cls(size=stat.size, sha256=stat.sha256)


@dataclass(frozen=True, kw_only=True)
class State:
    """What a bucket shows of a milestone at one moment.

    Attributes:
        objects: by path below the milestone; everything a client may ask for.
        pointers: the paths clients begin with; each makes what it names visible.
        replaced: the paths (pointers among them) that the next publication replaces.
    """

    objects: Mapping[str, Object]
    pointers: tuple[str, ...]
    replaced: tuple[str, ...]

    def shows(self, other: "State") -> bool:
        """Whether clients find the same here as in another state."""
        return {path: self.objects[path] for path in self.pointers} == {
            path: other.objects[path] for path in other.pointers
        }


@dataclass(frozen=True)
class Pointer:
    """A pointer as it was read: its content, generation, and who has claimed it; "" for nobody."""

    content: bytes
    generation: int
    claimed_by: str


def read_pointers(bucket: Bucket, milestone: int, paths: Sequence[str]) -> dict[str, Pointer]:
    """The pointers that are published, by path below the milestone."""
    held = in_parallel(lambda path: bucket.read(object_name(milestone, path)), paths, threads=bucket.threads)
    return {
        path: Pointer(each.content, each.stat.generation, each.stat.publisher if each.stat.claimed else "")
        for path, each in zip(paths, held, strict=True)
        if each is not None and each.content
    }


def settled(
    look: Callable[[], Mapping[str, Pointer]], state_of: Callable[[Mapping[str, Pointer]], State], where: str
) -> State | None:
    """The state behind pointers that have not moved while it was found out; None where there are none.

    Args:
        look: reads the pointers.
        state_of: the state that they lead to.
        where: the bucket and milestone, for the message.

    Raises:
        ConflictError: they move all the time.
        ArtifactError: from `state_of`, where that was not because they moved; or a publication was interrupted while it
            replaced what clients find beside the pointers.
    """
    for _ in range(_ATTEMPTS):
        if not (before := look()):
            return None
        if claims := [each.claimed_by for each in before.values() if each.claimed_by]:
            _wait_for(look, before, claims[0], where)
            continue
        try:
            state = state_of(before)
        except ArtifactError:
            if look() == before:
                raise
            continue
        if look() == before:
            return state
    raise ConflictError(f"{where} was published to {_ATTEMPTS} times while it was looked at", hint="run it again")


def _wait_for(look: Callable[[], Mapping[str, Pointer]], before: Mapping[str, Pointer], who: str, where: str) -> None:
    """Let somebody who is about to move a pointer do so."""
    try:
        wait_until(lambda: look() != before, f"{who!r} to publish", timeout=publication.CLAIM, every=0.2)
    except DeadlineError as err:
        raise ArtifactError(
            f"{where}: the publication of {who!r} was interrupted (run it again)",
            hint="clients find what was there before, by its hash; the same command completes it",
        ) from err


def whole(bucket: Bucket, milestone: int, wanted: Mapping[str, Object], also: Iterable[str]) -> dict[str, Object]:
    """The objects by path below the milestone, after a look whether they are there.

    Args:
        bucket, milestone: where.
        wanted: what has to be there.
        also: more paths, of whatever content.

    Raises:
        ArtifactError: naming what is missing or something else.
    """
    paths = list(dict.fromkeys([*wanted, *also]))
    there = bucket.stats([object_name(milestone, path) for path in paths])
    found = {path: Object.of(there[name]) for path in paths if (name := object_name(milestone, path)) in there}
    wrong = [f"{path}: missing" for path in paths if path not in found]
    wrong += [f"{path}: other content" for path, each in wanted.items() if found.get(path, each) != each]
    if wrong:
        raise ArtifactError(
            f"{url_of(bucket.url, milestone)} is not whole", details="\n".join(wrong),
            hint="publish what it should show again",
        )  # fmt: skip
    return found
