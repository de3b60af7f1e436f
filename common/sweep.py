"""What nobody needs any more goes in two steps: it is marked, and a later run deletes what nobody has needed since.

`<milestone>/unreferenced.json` has the marks: each object's generation and size, and since when nobody needs it.
Exactly that generation is deleted, after a grace: clients keep what they have read for a while. Whoever relies on an
object that was there already, as a publication does that finds a package uploaded before, calls `spare`: a marked
object gets a new generation, so that its deletion is refused, however late it arrives. A run that is killed leaves
marks, and objects, that the next one finds.
"""

import datetime as dt
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from common.bucket import ABSENT, Bucket, Kind
from common.errors import ConflictError
from common.milestones import object_name
from common.parallel import in_parallel

log = logging.getLogger(__name__)

NOTES = "unreferenced.json"
GRACE = dt.timedelta(hours=1)  # LXD and Incus keep an index that long
_ATTEMPTS = 5


@dataclass(frozen=True)
class Mark:
    """An object that nobody needs: since when (UTC), which generation of it, and its size in bytes."""

    since: dt.datetime
    generation: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep did, or would do.

    Attributes:
        deleted: objects, with their sizes in bytes.
        waiting: those that a later run deletes, with their sizes, and from when on.
    """

    deleted: Mapping[str, int]
    waiting: Mapping[str, tuple[int, dt.datetime]]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Which objects of a milestone are decided about, and how.

    Attributes:
        below: prefixes of their names.
        ours: of these, the names that may go at all.
        needed: the names that stay.
        grace: how long a marked object waits.
        first: whether it goes before all others.
        publisher: who sweeps, for the message of whoever comes second.
    """

    below: Sequence[str]
    ours: Callable[[str], bool]
    needed: Collection[str]
    grace: Callable[[str], dt.timedelta]
    first: Callable[[str], bool] = lambda _name: False
    publisher: str

    def run(
        self, bucket: Bucket, milestone: int, *, now: dt.datetime, still: Callable[[], None] = lambda: None,
        plan: bool = False,
    ) -> Swept:  # fmt: skip
        """Mark what is not needed, and delete what was marked long enough ago.

        Args:
            bucket, milestone: where.
            now: the time.
            still: called between the two; raises where what is needed may be something else by now.
            plan: change nothing.

        Raises:
            ConflictError: somebody else sweeps, or takes an object into use; nothing that is needed has gone.
        """
        marks, generation = read_marks(bucket, milestone)
        others = {name: mark for name, mark in marks.items() if not self._decides(name)}
        found = self._found(bucket, marks, now)
        due = {name: mark for name, mark in found.items() if self._due_at(name, mark) <= now}
        waiting = {name: mark for name, mark in found.items() if name not in due}
        if not plan:
            if others | found != marks:
                generation = self._write(bucket, milestone, others | found, generation)
            if due:
                still()
                self._still(bucket, milestone, generation)
                self._delete(bucket, due)
                self._write(bucket, milestone, others | waiting, generation)
        return Swept(
            deleted={name: mark.size for name, mark in due.items()},
            waiting={name: (mark.size, self._due_at(name, mark)) for name, mark in waiting.items()},
        )

    def _decides(self, name: str) -> bool:
        return name.startswith(tuple(self.below)) and self.ours(name)

    def _found(self, bucket: Bucket, marks: Mapping[str, Mark], now: dt.datetime) -> dict[str, Mark]:
        """What is there and not needed; marks of an object that was written again since count no more."""
        there = (name for prefix in self.below for name in bucket.names(prefix))
        stats = bucket.stats([name for name in there if self.ours(name) and name not in self.needed])
        return {
            name: mark if (mark := marks.get(name)) and mark.generation == stat.generation
            else Mark(now, stat.generation, stat.size)
            for name, stat in sorted(stats.items())
        }  # fmt: skip

    def _due_at(self, name: str, mark: Mark) -> dt.datetime:
        return mark.since + self.grace(name)

    def _delete(self, bucket: Bucket, due: Mapping[str, Mark]) -> None:
        def delete(name: str) -> None:
            try:
                bucket.delete(name, if_generation=due[name].generation)
            except ConflictError as err:
                have = bucket.stat(name)
                who = (have and have.publisher) or "somebody else"
                raise ConflictError(
                    f"{bucket.url}/{name} was taken into use by {who!r} while it was to be deleted", hint=_AGAIN
                ) from err

        for wave in ([name for name in due if self.first(name)], [name for name in due if not self.first(name)]):
            in_parallel(delete, wave, threads=bucket.threads)

    def _write(self, bucket: Bucket, milestone: int, marks: Mapping[str, Mark], generation: int) -> int:
        objects = {
            name: {"since": mark.since.isoformat(), "generation": mark.generation, "size": mark.size}
            for name, mark in marks.items()
        }
        content = json.dumps({"objects": objects}, indent=1, sort_keys=True) + "\n"
        name = object_name(milestone, NOTES)
        try:
            done = bucket.upload(
                content.encode(), name, kind=Kind.POINTER, if_generation=generation, publisher=self.publisher
            )
        except ConflictError as err:
            raise _changed(bucket, name) from err
        return done.stat.generation

    def _still(self, bucket: Bucket, milestone: int, generation: int) -> None:
        name = object_name(milestone, NOTES)
        have = bucket.stat(name)
        if (have.generation if have else ABSENT) != generation:
            raise _changed(bucket, name)


def _changed(bucket: Bucket, name: str) -> ConflictError:
    have = bucket.stat(name)
    who = (have and have.publisher) or "somebody else"
    return ConflictError(f"{bucket.url}/{name} was changed by {who!r} meanwhile", hint=_AGAIN)


_AGAIN = "run the same command again: it begins with what is there now"


def read_marks(bucket: Bucket, milestone: int) -> tuple[dict[str, Mark], int]:
    """The marks by object, and the generation of the object that has them.

    Where that is damaged they are begun anew: everything waits for its time again.
    """
    held = bucket.read(object_name(milestone, NOTES))
    if held is None:
        return {}, ABSENT
    try:
        content = json.loads(held.content)
        return {name: _mark(**mark) for name, mark in content["objects"].items()}, held.stat.generation
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        log.warning("%s/%s is damaged, and begun anew: %s", bucket.url, held.stat.name, err)
        return {}, held.stat.generation


def spare(
    bucket: Bucket, milestone: int, names: Collection[str], *, publisher: str, written: Collection[str] = ()
) -> list[str]:
    """Keep objects that are about to be needed, whoever is about to delete them.

    The marks are read before anything is looked at: a sweep takes them away only when it has deleted what they are of.

    Args:
        bucket, milestone: where.
        names: of the objects that were there when somebody looked.
        publisher: who needs them, for the message of whoever wants to delete them.
        written: more, which have been written since, or are needed already: these are there.

    Returns:
        those that are gone.

    Raises:
        ConflictError: others write one of them, again and again.
    """
    marks, _generation = read_marks(bucket, milestone)

    def renewed(name: str) -> bool:
        for attempt in range(1, _ATTEMPTS + 1):
            stat = bucket.stat(name)
            if stat is None:
                return False
            try:
                bucket.renew(name, if_generation=stat.generation, publisher=publisher)
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            log.info("%s/%s was marked, and is needed again", bucket.url, name)
            return True
        raise AssertionError("not reached")

    there = bucket.stats(names)
    marked = sorted({name for name in (*there, *written) if name in marks})
    here = in_parallel(renewed, marked, threads=bucket.threads)
    lost = [name for name, still in zip(marked, here, strict=True) if not still]
    return sorted({*lost, *(set(names) - there.keys())})


def _mark(*, since: object, generation: object, size: object) -> Mark:
    if isinstance(since, str) and type(generation) is int and type(size) is int:
        time = dt.datetime.fromisoformat(since)
        if time.tzinfo is not None:
            return Mark(time, generation, size)
    raise ValueError(f"a mark of {since!r}, {generation!r}, {size!r}")
