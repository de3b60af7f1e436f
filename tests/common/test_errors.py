"""One family, one exit code a kind, and one place where an error becomes one."""

import errno
import os
import signal
from collections.abc import Iterator

import pytest

from common import errors
from common.errors import ArtifactError, DiskFullError, ReleaseError, UsageError, from_os_error, reported


def _kinds(kind: type[ReleaseError] = ReleaseError) -> Iterator[type[ReleaseError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def test_every_kind_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in _kinds() if kind.__module__ == errors.__name__]
    assert len(codes) == len(set(codes))
    assert all(0 < code < 64 for code in codes)


def test_an_error_as_a_user_reads_it() -> None:
    assert str(UsageError("unknown arch 'x'", details="one\ntwo", hint="known: amd64")) == (
        "unknown arch 'x'\n  one\n  two\nhint: known: amd64"
    )
    assert str(UsageError("no")) == "no"


@pytest.mark.parametrize("kind", list(_kinds()))
def test_reported_exits_with_its_code(kind: type[ReleaseError], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, reported():
        raise kind("it broke", hint="mend it")
    assert caught.value.code == kind.exit_code
    assert capsys.readouterr().err == "error: it broke\nhint: mend it\n"


def test_an_interrupt_is_one_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, reported():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, ArtifactError),
        (errno.EROFS, ArtifactError),
    ],
)
def test_what_python_raises_is_named_too(
    number: int, kind: type[ReleaseError], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, reported():
        raise OSError(number, "as the kernel says", "/some/file")
    assert caught.value.code == kind.exit_code
    assert "'/some/file'" in capsys.readouterr().err
    assert isinstance(from_os_error(OSError(number, "x")), kind)


def test_any_other_os_error_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, reported():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/x")
    assert caught.value.code == ReleaseError.exit_code
    assert capsys.readouterr().err == "error: '/dev/null/x': Not a directory\n"


def test_sigterm_cleans_up_on_the_way_out() -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned.append("yes")

    with pytest.raises(SystemExit) as caught, reported():
        work()
    assert caught.value.code == 143
    assert cleaned == ["yes"]


def test_a_bug_stays_a_traceback() -> None:
    with pytest.raises(KeyError), reported():
        raise KeyError("x")


def test_nothing_happens_when_nothing_happens() -> None:
    with reported():
        pass
