"""Where a milestone is in a bucket: 69 at its top, 70 and later in a folder of their own, earlier ones nowhere.

Chrome OS 69 was the first with Linux containers, and its clients ask without a milestone.
"""

from common.errors import UsageError

FIRST = 69
FIRST_WITH_FOLDER = 70


def folder_of(milestone: int) -> str:
    """The folder of a milestone in every bucket, `72`; "" for the bucket's top. UsageError: there never was one."""
    if milestone == 0:  # the tasks' own word for none
        raise UsageError("no milestone is named", hint="--milestone 72")
    if milestone < FIRST:
        raise UsageError(
            f"milestone {milestone!r} has no containers",
            hint=f"{FIRST} was the first; ./run invoke branches lists them",
        )
    return str(milestone) if milestone >= FIRST_WITH_FOLDER else ""


def url_of(base: str, milestone: int) -> str:
    """The URL of a milestone below that of its bucket: `gs://cros-packages/72`. UsageError: see folder_of."""
    folder = folder_of(milestone)
    return f"{base}/{folder}" if folder else base


def object_name(milestone: int, path: str) -> str:
    """The name of an object by its path below the milestone: `72/streams/v1/images.json`. UsageError: see folder_of."""
    folder = folder_of(milestone)
    return f"{folder}/{path}" if folder else path
