"""Talking to a daemon that is not there, or goes away."""

import gc
import socket
from pathlib import Path

import pytest

from common.errors import DeadlineError, LxdDiedError
from lxd.client import connect, listens, translated


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("socket_left", [False, True])
def test_nobody_listens_and_nothing_is_left_open(socket_left: bool, tmp_path: Path) -> None:
    if socket_left:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "unix.socket"))
    assert not listens(tmp_path)
    before = open_files()
    with pytest.raises(LxdDiedError, match="went away"), translated():
        connect(tmp_path)
    # A socket that is collected before it is closed fails the test here.
    gc.collect()
    assert open_files() == before


def test_one_that_never_answers_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "unix.socket"))
        silent.listen()
        assert listens(tmp_path)
        with pytest.raises(DeadlineError, match="did not answer"), translated():
            connect(tmp_path, timeout=0.2)
    gc.collect()
