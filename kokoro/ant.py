"""Which files of an artifacts directory a .cfg's patterns mean: Ant's FileSet globs, as Kokoro takes them.

Rules from Ant's manual, "Directory-based Tasks": a pattern is compared segment by segment, case counts; `*` is any
text inside one segment and `?` one character of it; a segment `**` is any number of directories, none included; a
final `/` means `/**`; a backslash separates like a slash. Brackets and braces mean themselves. `**` next to text is
no more than `*`. A pattern that begins with `/` matches nothing here, because every path is relative. Ant's default
excludes (`**/*~`, `**/CVS/**` ...) are not applied: no public source says that Kokoro does.
"""

import functools
import logging
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import ArtifactError

log = logging.getLogger(__name__)

_ANY_DEPTH = "**"


@dataclass(frozen=True)
class _Pattern:
    """A pattern as a small automaton: a state is the number of segments already matched."""

    segments: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "_Pattern | None":
        """Split a pattern into segments; None for one that no relative path can match."""
        text = text.replace("\\", "/")
        if text.startswith("/"):
            return None
        if text.endswith("/"):
            text += _ANY_DEPTH
        return cls(tuple(segment for segment in text.split("/") if segment))

    def start(self) -> frozenset[int]:
        """The states before the first segment of a path."""
        return self._without_skips({0})

    def step(self, states: Collection[int], segment: str) -> frozenset[int]:
        """The states after one more segment of the path; none when nothing below it can match."""
        after = set()
        for state in states:
            if state == len(self.segments):
                continue
            wanted = self.segments[state]
            if wanted == _ANY_DEPTH:
                after.add(state)
            elif _segment(wanted).fullmatch(segment):
                after.add(state + 1)
        return self._without_skips(after)

    def done(self, states: Collection[int]) -> bool:
        """Whether the whole pattern is matched."""
        return bool(self.segments) and len(self.segments) in states

    def open(self, states: Collection[int]) -> bool:
        """Whether more segments could match."""
        return any(state < len(self.segments) for state in states)

    def _without_skips(self, states: set[int]) -> frozenset[int]:
        """Add the states reached because `**` also stands for no directory at all."""
        for state in sorted(states):
            following = state
            while following < len(self.segments) and self.segments[following] == _ANY_DEPTH:
                following += 1
                states.add(following)
        return frozenset(states)


@functools.cache
def _segment(glob: str) -> re.Pattern[str]:
    """One segment of a pattern. Several stars in a row say what one does, and would only make it slow."""
    parts = re.split(r"(\*+|\?)", glob)
    return re.compile(
        "".join(".*" if p.startswith("*") else "." if p == "?" else re.escape(p) for p in parts), re.DOTALL
    )


def matches(pattern: str, path: str) -> bool:
    """Whether a relative path (with `/`) matches an Ant pattern."""
    automaton = _Pattern.read(pattern)
    if automaton is None:
        return False
    states = automaton.start()
    for segment in path.split("/"):
        states = automaton.step(states, segment)
    return automaton.done(states)


def select(root: Path, patterns: Sequence[str], strip_prefix: str = "") -> dict[str, Path]:
    """The artifacts below `root`: name -> file, sorted by name. Directories no pattern can reach are not read.

    A link to a file or a directory inside `root` counts as what it points at (a link inside such a directory does
    not); one that leads out of `root` is left out, with a warning.

    Args:
        root: the artifacts directory.
        patterns: Ant patterns relative to it; a file is an artifact when it matches any.
        strip_prefix: a directory taken off the front of the names, with or without a final slash. A file outside of
            it keeps its whole path.

    Raises:
        ArtifactError: two files would get the same name, or one the name of another's directory.
    """
    automata = [automaton for automaton in map(_Pattern.read, patterns) if automaton]
    start = [automaton.start() for automaton in automata]
    found: dict[str, Path] = {}
    prefix = strip_prefix.strip("/") + "/"
    for path in _walk(_Tree(root.resolve(), automata), root, "", start, linked=False):
        name = path.removeprefix(prefix)
        if name in found:
            first = found[name].relative_to(root).as_posix()
            raise ArtifactError(
                f"two artifacts would be named {name!r}: {first!r} and {path!r}",
                hint="rename one of them, or change strip_prefix in the .cfg",
            )
        found[name] = root / path
    for name in found:
        for parent in Path(name).parents:
            if parent.as_posix() in found:
                raise ArtifactError(
                    f"artifact {name!r} lies in a directory named like artifact {parent.as_posix()!r}",
                    hint="rename one of them, or change strip_prefix in the .cfg",
                )
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class _Tree:
    """What the walk looks for, and the real path it may not leave."""

    top: Path
    automata: Sequence[_Pattern]

    def holds(self, link: Path) -> bool:
        """Whether a link stays inside."""
        return link.resolve().is_relative_to(self.top)


def _walk(tree: _Tree, folder: Path, prefix: str, states: Sequence[frozenset[int]], *, linked: bool) -> Iterator[str]:
    """The matching files below `folder`, as paths relative to the top; `linked` when we got here through a link."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        after = [automaton.step(state, entry.name) for automaton, state in zip(tree.automata, states, strict=True)]
        if not any(after):
            continue
        path = f"{prefix}{entry.name}"
        done = any(automaton.done(state) for automaton, state in zip(tree.automata, after, strict=True))
        if entry.is_symlink() and not tree.holds(Path(entry.path)):
            log.warning("left out of the artifacts: %s is a link that leads out of %s", path, tree.top)
        elif entry.is_dir():
            go_on = any(automaton.open(state) for automaton, state in zip(tree.automata, after, strict=True))
            if go_on and not (entry.is_symlink() and (linked or _is_above(entry))):
                yield from _walk(tree, Path(entry.path), f"{path}/", after, linked=linked or entry.is_symlink())
        elif done and entry.is_file():
            yield path


def _is_above(link: "os.DirEntry[str]") -> bool:
    """Whether a link points at a directory it lies in: following it would never end."""
    here = Path(link.path)
    return here.parent.resolve().is_relative_to(here.resolve())
