"""What a bucket shows of an apt repository: every object that a client may ask for, found from InRelease on."""

import io
from collections.abc import Mapping

from debian.deb822 import Packages

from common.aptrepo import KEYRING, indices_of
from common.bucket import Bucket
from common.errors import ArtifactError
from common.milestones import object_name, url_of
from common.shown import Object, Pointer, State, read_pointers, settled, whole

_SIGNED = ("Release", "Release.gpg", "InRelease")
_HINT = "publish again: ./run invoke publish-apt-staging"


def apt_state(bucket: Bucket, milestone: int) -> State | None:
    """What a bucket shows; None where nothing is published.

    Raises:
        ConflictError: publications move it on all the time.
        ArtifactError: an object that it names is missing, or is something else.
    """
    return settled(
        lambda: _pointers(bucket, milestone),
        lambda pointers: _state(bucket, milestone, {path: each.content for path, each in pointers.items()}),
        url_of(bucket.url, milestone),
    )


def _pointers(bucket: Bucket, milestone: int) -> dict[str, Pointer]:
    """Each InRelease that is published."""
    start = object_name(milestone, "")
    names = [name for name in bucket.names(f"{start}dists/") if name.endswith("/InRelease")]
    return read_pointers(bucket, milestone, [name.removeprefix(start) for name in names])


def _state(bucket: Bucket, milestone: int, pointers: Mapping[str, bytes]) -> State:
    objects: dict[str, Object] = {}
    replaced = [KEYRING]
    for pointer, content in pointers.items():
        dist = pointer.removesuffix("/InRelease")
        try:
            indices = indices_of(content.decode(errors="replace"))
        except ArtifactError as err:
            where = f"{bucket.url}/{object_name(milestone, pointer)}"
            raise ArtifactError(f"{where}: {err.what}", hint=_HINT) from err
        for index in indices:
            each = Object(size=index.size, sha256=index.sha256)
            objects |= {f"{dist}/{index.path}": each, f"{dist}/{index.by_hash}": each}
            replaced.append(f"{dist}/{index.path}")
        replaced += [f"{dist}/{name}" for name in _SIGNED]
        for by_hash in sorted({index.by_hash for index in indices if index.path.endswith("/Packages")}):
            objects |= _pool(bucket, object_name(milestone, f"{dist}/{by_hash}"))
    found = whole(bucket, milestone, objects, replaced)
    return State(objects=found, pointers=tuple(sorted(pointers)), replaced=tuple(sorted(replaced)))


def _pool(bucket: Bucket, name: str) -> dict[str, Object]:
    """The packages that an index names."""
    held = bucket.read(name)
    try:
        return {
            each["Filename"]: Object(size=int(each["Size"]), sha256=each["SHA256"])
            for each in Packages.iter_paragraphs(io.BytesIO(held.content if held else b""), use_apt_pkg=False)
        }
    except (KeyError, ValueError) as err:
        raise ArtifactError(f"{bucket.url}/{name} is not an index of packages: {err}", hint=_HINT) from err
