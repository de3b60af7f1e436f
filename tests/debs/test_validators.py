"""Every configuration file is read by the program it is meant for, or by that program's own checker."""

import fnmatch
import re
import shutil
import struct
from pathlib import Path

import pytest

from common import tools
from common.errors import CommandError
from debs.releases import DEBS
from tests.debs.conftest import RELEASES, Laid

FILES, DEBIAN = DEBS / "files", DEBS / "debian"
MAINTAINER_SCRIPTS = sorted(
    path for kind in ("preinst", "postinst", "prerm", "postrm") for path in DEBIAN.glob(f"*.{kind}")
)
SCRIPTS = sorted(
    path for path in FILES.rglob("*")
    if path.is_file() and (path.suffix == ".sh" or path.name.endswith("sommelierrc") or path.read_bytes()[:3] == b"#!/")
)  # fmt: skip


def name(path: Path) -> str:
    return path.relative_to(DEBS).as_posix()


@pytest.mark.parametrize("script", [*SCRIPTS, *MAINTAINER_SCRIPTS, DEBIAN / "adopt-conffiles"], ids=name)
def test_shell_scripts(script: Path) -> None:
    tools.capture(["shellcheck", "--shell=sh", script], timeout=60)


@pytest.mark.parametrize("script", MAINTAINER_SCRIPTS, ids=name)
def test_maintainer_scripts_stop_at_errors_and_leave_room_for_debhelper(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[:2] == ["#!/bin/sh", "set -e"]
    assert "#DEBHELPER#" in lines


@pytest.mark.parametrize("desktop", sorted(FILES.rglob("*.desktop")), ids=name)
def test_desktop_files(desktop: Path) -> None:
    assert tools.capture(["desktop-file-validate", desktop], timeout=60) == ""


def test_fontconfig_file() -> None:
    [file] = FILES.rglob("05-cros-fonts.conf")
    tools.capture(["xmllint", "--noout", "--nonet", file], timeout=60)


def test_sudoers_file() -> None:
    [file] = (FILES / "cros-sudo-config/etc/sudoers.d").iterdir()
    tools.capture(["visudo", "--check", "--strict", "--file", file], timeout=60)


@pytest.mark.parametrize("page", sorted(DEBIAN.glob("*.1")), ids=name)
def test_man_pages(page: Path) -> None:
    tools.capture(["mandoc", "-T", "lint", "-W", "warning", page], timeout=60)


def test_dconf_settings_compile(tmp_path: Path) -> None:
    tools.capture(["dconf", "compile", tmp_path / "db", FILES / "cros-ui-config/etc/dconf/db/local.d"], timeout=60)
    text = (tmp_path / "db").read_bytes()
    assert b"CrosAdapta" in text
    assert b"Cousine 10" in text


def verify_units(tree: Path, place: Path) -> str:
    """Run systemd's own check over all units of a source package, each program they run replaced by one that exists."""
    units = place / "units"
    programs = place / "programs"
    for kind in ("system", "user"):
        (units / kind).mkdir(parents=True)
    for unit in [*tree.rglob("systemd/system/*"), *tree.rglob("systemd/user/*")]:
        if unit.suffix not in (".service", ".path", ".mount"):
            continue
        text = unit.read_text()
        for program in re.findall(r"^Exec\w+=-?(/\S+)", text, re.MULTILINE):
            stand_in = programs / program.lstrip("/")
            stand_in.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("/bin/true", stand_in)
        kind = unit.parent.name
        (units / kind / unit.name).write_text(re.sub(r"^(Exec\w+=-?)/", rf"\g<1>{programs}/", text, flags=re.MULTILINE))
    said = []
    for kind in ("system", "user"):
        wanted = [str(path).replace("@.", "@0.") for path in sorted((units / kind).iterdir())]
        env = {"XDG_RUNTIME_DIR": str(place), "SYSTEMD_UNIT_PATH": f"{units / kind}:"}
        try:
            tools.capture(["systemd-analyze", "verify", f"--{kind}", "--man=no", *wanted], env=env, timeout=60)
        except CommandError as err:
            said.append(err.details)
    return "\n".join(said)


@pytest.mark.parametrize("release", RELEASES)
def test_units(release: str, laid_out: Laid, tmp_path: Path) -> None:
    assert verify_units(laid_out(release) / "files", tmp_path) == ""


@pytest.mark.parametrize("unit", ["cros-sftp.service", "cros-garcon.service", "sommelier@.service"])
def test_a_broken_unit_is_seen(unit: str, laid_out: Laid, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(laid_out("trixie") / "files", tree, symlinks=True)
    [path] = [path for path in tree.rglob(unit) if path.is_file()]
    path.write_text(path.read_text().replace("ExecStart=", "ExecStart=nowhere/"))
    assert unit.split(".")[0].rstrip("@") in verify_units(tree, tmp_path)


@pytest.mark.parametrize("package", ["cros-garcon", "cros-sudo-config"])
def test_polkit_rules_and_pkla_allow_the_same(package: str) -> None:
    rules = "".join(path.read_text() for path in (DEBS / "variants/polkit-rules" / package).rglob("*.rules"))
    pkla = "".join(path.read_text() for path in (DEBS / "variants/polkit-pkla" / package).rglob("*.pkla"))
    listed = re.findall(r"^Action=(.*)$", pkla, re.MULTILINE)
    actions = {action for line in listed for action in line.split(";")} - {"*"}
    assert set(re.findall(r'"((?:org|com)\.[^"]+)"', rules)) == actions
    assert 'isInGroup("sudo")' in rules
    assert "Identity=unix-group:sudo" in pkla


@pytest.mark.parametrize("unit", sorted(FILES.rglob("*.service")), ids=name)
def test_a_unit_that_is_started_again_and_again_never_ends_in_failed(unit: Path) -> None:
    text = unit.read_text()
    if "\nRestart=always\n" in text:
        assert "\nStartLimitIntervalSec=0\n" in text
        assert re.search(r"^RestartSec=", text, re.MULTILINE)


def test_everybody_may_use_the_virtual_wayland_device() -> None:
    [file] = FILES.rglob("10-cros-virtwl.rules")
    [rule] = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    parts = dict(re.findall(r'([A-Z]+)(?:==|=)"([^"]*)"', rule))
    assert fnmatch.fnmatchcase("wl0", parts["KERNEL"])
    assert not fnmatch.fnmatchcase("null", parts["KERNEL"])
    assert parts["MODE"] == "0666"
    assert 'KERNEL=="' in rule


@pytest.mark.parametrize("icon", sorted(FILES.rglob("cros-tast-tests/**/*.png")), ids=name)
def test_icons_are_as_large_as_their_folder_says(icon: Path) -> None:
    header = icon.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (32, 32)


def test_settings_of_the_toolkits() -> None:
    etc = FILES / "cros-ui-config/etc"
    gtk3 = (etc / "gtk-3.0/settings.ini").read_text()
    assert re.search(r"^gtk-decoration-layout *= *\S*:\S*close$", gtk3, re.MULTILINE), "buttons on the right"
    for text in (gtk3, (etc / "gtk-2.0/gtkrc").read_text()):
        assert re.search(r"^gtk-theme-name *= *\"?CrosAdapta", text, re.MULTILINE)
    assert re.search(r"^style *= *\S+", (etc / "xdg/Trolltech.conf").read_text(), re.MULTILINE)


def test_the_hosts_browser_is_in_no_menu() -> None:
    [desktop] = FILES.rglob("garcon_host_browser.desktop")
    assert "\nNoDisplay=true\n" in desktop.read_text()
