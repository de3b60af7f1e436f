"""The one error family: what went wrong, details, a hint, and one exit code a kind.

Modules raise these; tasks.py and the scripts turn them into an exit code, through `reported`.
"""

import contextlib
import errno
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class ReleaseError(Exception):
    """Something a user can act on.

    Args:
        what: one sentence that quotes the offending value.
        details: more lines (the end of a log, a list of files); may be empty.
        hint: what to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, *, details: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.details, self.hint = what, details, hint

    def __str__(self) -> str:
        """The error as a user reads it."""
        lines = [self.what]
        lines += [f"  {line}" for line in self.details.splitlines()]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(ReleaseError):
    """An unknown branch, release, architecture, image type or flag."""

    exit_code = 2


class ConfigError(ReleaseError):
    """A .cfg, .toml or environment that cannot be read or does not make sense."""

    exit_code = 3


class ToolMissingError(ReleaseError):
    """A program that is not installed."""

    exit_code = 4


class NotRootError(ReleaseError):
    """The work needs root."""

    exit_code = 5


class PackageError(ReleaseError):
    """A truncated, tampered or misnamed .deb."""

    exit_code = 6


class ConflictError(ReleaseError):
    """The same name with other content, or somebody else who was faster."""

    exit_code = 7


class ArtifactError(ReleaseError):
    """An artifact that is missing, unreadable or not what its manifest says."""

    exit_code = 8


class SigningError(ReleaseError):
    """A key or a signature that must not be used."""

    exit_code = 9


class DiskFullError(ReleaseError):
    """No space left."""

    exit_code = 10


class LxdUnavailableError(ReleaseError):
    """There is no LXD and none can be started."""

    exit_code = 11


class LxdDiedError(ReleaseError):
    """The LXD daemon went away under us."""

    exit_code = 12


class NetworkError(ReleaseError):
    """A mirror or server that does not answer."""

    exit_code = 13


class CheckFailedError(ReleaseError):
    """An image that does not pass its boot checks."""

    exit_code = 14


class CommandError(ReleaseError):
    """A program that failed in a way we have no better word for."""

    exit_code = 15


class DeadlineError(ReleaseError):
    """Something that did not happen in time."""

    exit_code = 16


class BusyError(ReleaseError):
    """Another run holds what this one needs."""

    exit_code = 17


class ImageError(ReleaseError):
    """An image that LXD cannot unpack or start."""

    exit_code = 18


class GateError(ReleaseError):
    """A snapshot that may not go live: its tests are missing or not green."""

    exit_code = 19


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn a ReleaseError into a message on stderr and its exit code: the one place that does.

    What Python itself raises for a full disk or a missing permission is named here too, so that no
    caller has to. SIGTERM ends like an interruption: every context manager on the way out cleans up.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except ReleaseError as err:
        print(f"error: {err}", file=sys.stderr)
        raise SystemExit(err.exit_code) from err
    except KeyboardInterrupt as err:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from err
    except OSError as err:
        known = from_os_error(err)
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(known.exit_code) from err


def _end(_signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def from_os_error(err: OSError) -> ReleaseError:
    """The member of our family that says the same as this OSError."""
    match err.errno:
        case errno.ENOSPC | errno.EDQUOT:
            where = f" that holds {err.filename!r}" if err.filename else ""
            return DiskFullError(
                f"no space left on the disk{where}",
                hint="free some space (./run invoke clean removes out/), then run the same command again",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ArtifactError(f"{err.filename!r}: {err.strerror}", hint="check its owner and mode, or run as root")
        case _:
            return ReleaseError(f"{err.filename!r}: {err.strerror}" if err.filename else str(err))
