"""The scripts of the packages, run as the guest runs them."""

import os
import pty
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common import tools
from debs.releases import DEBS
from tests.conftest import FakeTool

FILES = DEBS / "files"
BIND = FILES / "cros-apt-config/usr/libexec/cros-apt-config/bind-keyring"
KEYRING = "/usr/share/keyrings/cros-archive-keyring.gpg"
URL = "https://storage.example/cros-packages/72"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"deb {URL} bookworm main", f"deb [signed-by={KEYRING}] {URL} bookworm main"),
        (f"deb [arch=amd64] {URL} bookworm main", f"deb [signed-by={KEYRING} arch=amd64] {URL} bookworm main"),
        (f"deb [signed-by=/other.gpg] {URL} bookworm main", f"deb [signed-by=/other.gpg] {URL} bookworm main"),
        (f"  deb-src {URL} bookworm main # note", f"  deb-src [signed-by={KEYRING}] {URL} bookworm main # note"),
        ("# deb is a word here", "# deb is a word here"),
        ("", ""),
    ],
)
def test_the_hosts_source_is_bound_to_the_keyring(tmp_path: Path, before: str, after: str) -> None:
    source = tmp_path / "cros.list"
    source.write_text(f"# by Chrome OS\n{before}\n")
    source.chmod(0o640)
    for _ in range(2):  # the second time nothing is left to do
        tools.run([BIND, tmp_path])
        assert source.read_text() == f"# by Chrome OS\n{after}\n"
    assert stat.S_IMODE(source.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["cros.list"]


def test_sources_that_name_the_former_place_keep_working_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.sources").write_text("Types: deb\nSigned-By: /etc/apt/trusted.gpg.d/cros.gpg\n")
    (tmp_path / "other.list").write_text("deb https://other.example stable main\n")
    inode = (tmp_path / "other.list").stat().st_ino
    tools.run([BIND, tmp_path])
    assert (tmp_path / "mine.sources").read_text() == f"Types: deb\nSigned-By: {KEYRING}\n"
    assert (tmp_path / "other.list").read_text() == "deb https://other.example stable main\n"
    assert (tmp_path / "other.list").stat().st_ino == inode


def test_a_directory_with_nothing_to_change_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "cros.list").write_text(f"deb [signed-by={KEYRING}] {URL} bookworm main\n")
    before = tmp_path.stat().st_mtime_ns
    tools.run([BIND, tmp_path])
    assert tmp_path.stat().st_mtime_ns == before, "cros-bind-keyring.path watches it"


def test_apt_and_systemd_may_run_it_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    source = folder / "cros.list"
    for _ in range(4):
        source.write_text(f"deb {URL} bookworm main\n" * 200)
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(tools.run, [BIND, folder]) for _ in range(24)]:
                done.result()
        assert source.read_text() == f"deb [signed-by={KEYRING}] {URL} bookworm main\n" * 200
        assert [path.name for path in folder.iterdir()] == ["cros.list"]
    assert [path.name for path in tmp_path.iterdir()] == ["sources.list.d"]


def test_the_main_file_is_a_source_too(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text(f"deb [signed-by=/etc/apt/trusted.gpg.d/cros.gpg] {URL} bookworm main\n")
    tools.run([BIND, folder])
    assert (tmp_path / "sources.list").read_text() == f"deb [signed-by={KEYRING}] {URL} bookworm main\n"


def test_no_source_at_all_is_fine(tmp_path: Path) -> None:
    tools.run([BIND, tmp_path])
    tools.run([BIND, tmp_path / "nowhere"])
    assert list(tmp_path.iterdir()) == []


# ---- the message of the day


def in_terminal(argv: list[str], env: dict[str, str]) -> str:
    """What a program prints when its output is a terminal."""
    parent, child = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.dup2(child, 1)
        os.execve(argv[0], argv, env)
    os.close(child)
    said = b""
    while True:
        try:
            block = os.read(parent, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        said += block
    os.close(parent)
    os.waitpid(pid, 0)
    return said.decode()


Login = Callable[..., str]


@pytest.fixture
def login(tmp_path: Path) -> Login:
    """A login shell in a terminal that sources the script, with a message of our own."""
    message = tmp_path / "motd"
    message.write_text("News.\n")
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "cros-motd.sh"
    text = (FILES / "cros-motd/etc/profile.d/cros-motd.sh").read_text()
    script.write_text(text.replace("/usr/share/cros-motd/motd", str(message)))

    def run(shell: str = "/bin/sh", **env: str) -> str:
        return in_terminal([shell, "-c", f". {script}; set"], {"HOME": str(home), "PATH": os.environ["PATH"], **env})

    return run


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_message_is_shown_a_few_times_and_then_no_more(login: Login, shell: str) -> None:
    assert ["News." in login(shell) for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_new_message_is_shown_again(login: Login, tmp_path: Path) -> None:
    for _ in range(6):
        login()
    (tmp_path / "motd").write_text("Other news.\n")
    assert "Other news." in login()


def test_the_message_can_be_silenced(login: Login, tmp_path: Path) -> None:
    (tmp_path / "home/.local/share").mkdir(parents=True)
    (tmp_path / "home/.local/share/cros-motd.disable").touch()
    assert "News." not in login()


def test_no_message_over_ssh_nor_with_a_broken_counter(login: Login, tmp_path: Path) -> None:
    assert "News." not in login(SSH_TTY="/dev/pts/1")
    counter = tmp_path / "home/.local/share/cros-motd"
    counter.parent.mkdir(parents=True)
    counter.write_text("rubbish\n")  # 0.x wrote a bare number
    assert "News." in login()


def test_the_message_leaves_no_variable_behind(login: Login) -> None:
    said = login()
    assert not [line for line in said.splitlines() if line.startswith(("message=", "shown=", "times=", "sum="))]


# ---- sommelier


def test_a_host_without_the_drivers_is_no_error(tmp_path: Path, fake_tool: FakeTool) -> None:
    calls = fake_tool("update-alternatives")
    (tmp_path / "host/bin").mkdir(parents=True)
    (tmp_path / "host/bin/sommelier").touch()
    (tmp_path / "host/lib").symlink_to("/proc/self/fdinfo")  # where even root can make no file
    text = (DEBS / "debian/cros-sommelier-config.postinst").read_text()
    script = tmp_path / "postinst"
    script.write_text(text.replace("host=/opt/google/cros-containers", f"host={tmp_path}/host"))
    tools.run(["sh", script, "configure", "1"])
    assert [line.split()[2] for line in calls.read_text().splitlines()] == ["sommelier"]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `systemctl --user` that keeps the manager's environment in a file."""
    state = tmp_path / "manager"
    state.write_text("")
    bindir = tmp_path / "bin"
    bindir.mkdir()
    program = bindir / "systemctl"
    program.write_text(f"""#!/bin/sh
shift; verb=$1; shift
case $verb in
    set-environment) printf '%s\\n' "$@" >>{state} ;;
    unset-environment) for name; do sed -i "/^$name=/d" {state}; done ;;
    import-environment) for name; do eval "printf '%s=%s\\n' $name \\"\\$$name\\"" >>{state}; done ;;
    show-environment) cat {state} ;;
esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bindir}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return state


LIBEXEC = FILES / "cros-sommelier/usr/libexec/cros-sommelier"


@pytest.mark.parametrize("protocol", ["wayland", "x11"])
def test_without_a_gpu_nothing_speaks_of_one(systemctl: Path, protocol: str) -> None:
    if Path("/dev/dri/renderD128").exists():
        pytest.skip("this machine has a GPU")
    systemctl.write_text("SOMMELIER_DRM_DEVICE=/dev/dri/renderD128\nSOMMELIER_GLAMOR=1\nLANG=C\n")
    tools.run([LIBEXEC / "prepare", protocol, "0"])
    assert systemctl.read_text() == "LANG=C\n"


def test_wayland_is_announced_under_the_name_the_instance_has(systemctl: Path) -> None:
    env = {
        "WAYLAND_DISPLAY": "wayland-1",
        "WAYLAND_DISPLAY_VAR": "WAYLAND_DISPLAY_LOW_DENSITY",
        "SOMMELIER_VERSION": "1",
    }
    tools.run([LIBEXEC / "announce", "wayland"], env=env)
    assert systemctl.read_text() == "WAYLAND_DISPLAY_LOW_DENSITY=wayland-1\nSOMMELIER_VERSION=1\n"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_login_shells_learn_of_the_displays(systemctl: Path, shell: str) -> None:
    script = FILES / "cros-sommelier/etc/profile.d/sommelier.sh"
    shown = "$DISPLAY|$WAYLAND_DISPLAY|$DISPLAY_LOW_DENSITY|$XCURSOR_SIZE"
    ask = f'. {script}; echo "{shown}"; set | grep -c ^_sommelier_ || :'
    assert tools.capture([shell, "-c", ask]).split() == ["|||", "0"]
    systemctl.write_text("SOMMELIER_VERSION=1\nDISPLAY=:0\nWAYLAND_DISPLAY=wayland-0\nDISPLAY_LOW_DENSITY=:1\n")
    assert tools.capture([shell, "-c", ask]).split() == [":0|wayland-0|:1|", "0"]
