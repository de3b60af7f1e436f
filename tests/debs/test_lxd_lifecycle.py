"""Our packages come, are upgraded, fail and go in running containers, and leave them as they were."""

import shutil
from pathlib import Path

import pytest

from common.waiting import wait_until
from lxd import host
from tests.debs.broken import deconfiguring, failing
from tests.debs.conftest import Built, Installed, kinds
from tests.debs.guests import APT_TIMEOUT, REPOSITORIES, Base, Guest, differences, make_repository
from tests.debs.originals import ORIGINALS, make

pytestmark = [pytest.mark.root, pytest.mark.lxd, pytest.mark.mirror, pytest.mark.timeout(900)]

CONF = "/etc/skel/.config/cros-garcon.conf"
SESSION = ("cros-garcon.service", "sommelier@0.service", "sommelier-x@0.service")


def dpkg(guest: Guest, *words: str) -> int:
    """Run dpkg, which may fail; the exit code."""
    return guest.root.run(["dpkg", *words], timeout=APT_TIMEOUT).exit_code


def changes(before: set[str], guest: Guest) -> list[str]:
    """What is different now."""
    return list(differences(before, guest.snapshot()))


def test_install_with_recommendations(installed: Installed) -> None:
    assert {step: found for step, found in installed.failures.items() if found} == {}
    guest = installed.guest
    states = {state.split(" ")[1] for state in guest.ours().values()}
    assert states == {"ii"}
    if guest.kind.full:
        missing = guest.sh("""
for name in $(dpkg-query --show --showformat='${Recommends}' cros-guest-tools | tr -d ','); do
    dpkg-query --show --showformat='${Package}\\n' "$name" >/dev/null || echo "$name"
done""")
        assert missing == ""


def test_reinstall_remove_purge_and_install_without_recommendations(installed: Installed) -> None:
    guest = installed.base.clone("leaving", of="installed")
    full = guest.snapshot()
    guest.apt("install", "--reinstall", *guest.ours())
    assert guest.failures() == []
    assert changes(full, guest) == []

    # As when root runs a playbook.
    guest.sh("python3 -m py_compile /usr/share/ansible/plugins/callback/garcon.py")
    guest.root.get(["dpkg", "--remove", *guest.ours()], timeout=APT_TIMEOUT)
    assert guest.failures() == []
    guest.root.get(["dpkg", "--purge", *guest.ours()], timeout=APT_TIMEOUT)
    assert guest.failures() == []
    assert guest.ours() == {}
    assert changes(installed.before, guest) == []

    guest.apt("install", "--no-install-recommends", "cros-guest-tools")
    assert "cros-sommelier-config" not in guest.ours()
    assert guest.failures() == []
    guest.restart()
    assert guest.failures() == []
    guest.root.stop()


@pytest.mark.packages
def test_a_failed_upgrade_leaves_everything_as_it_was(installed: Installed, built: Built, tmp_path: Path) -> None:
    guest = installed.base.clone("failing", of="installed")
    ours = guest.ours()
    debs = [deb for deb in built(guest.kind.release).iterdir() if deb.name.split("_")[0] in ours]
    place = installed.base.repositories / "failing"
    place.mkdir()
    before = guest.snapshot()
    for step in ("preinst", "unpack"):
        broken = [f"{REPOSITORIES}/failing/{failing(deb, place, step=step).name}" for deb in debs]
        assert dpkg(guest, "--install", "--abort-after=100", *broken) == 1
        assert guest.ours() == ours
        assert guest.failures() == []
        assert changes(before, guest) == []
    breaks = deconfiguring(list(ours), place)
    assert dpkg(guest, "--auto-deconfigure", "--install", f"{REPOSITORIES}/failing/{breaks.name}") == 1
    assert guest.ours() == ours
    assert changes(before, guest) == []

    broken = [f"{REPOSITORIES}/failing/{failing(deb, place, step='configure').name}" for deb in debs]
    assert dpkg(guest, "--install", "--abort-after=100", *broken) == 1
    assert {state.split(" ")[1] for state in guest.ours().values()} >= {"iF"}
    back = [f"{REPOSITORIES}/ours/{deb.name}" for deb in debs]
    assert dpkg(guest, "--install", *back) == 0
    assert guest.ours() == ours
    assert guest.failures() == []
    assert changes(before, guest) == []
    guest.root.stop()
    shutil.rmtree(place)


@pytest.mark.packages
def test_a_failed_first_installation_leaves_nothing(base: Base, built: Built) -> None:
    guest = base.clone("never")
    place = base.repositories / "never"
    place.mkdir()
    before = guest.snapshot()
    debs = [deb for deb in built(guest.kind.release).iterdir() if "gpu-alpha" not in deb.name]
    for step in ("preinst", "unpack"):
        broken = [f"{REPOSITORIES}/never/{failing(deb, place, step=step).name}" for deb in debs]
        assert dpkg(guest, "--install", "--abort-after=100", *broken) == 1
        assert {state.split(" ")[1] for state in guest.ours().values()} <= {"un", "pn"}
        assert changes(before, guest) == []
    guest.root.stop()
    shutil.rmtree(place)


def test_the_alpha_takes_the_place_of_cros_gpu_and_back(installed: Installed) -> None:
    guest = installed.base.clone("alpha", of="installed")
    before = guest.snapshot()
    guest.apt("install", "cros-gpu-alpha")
    states = guest.ours()
    assert states["cros-gpu-alpha"].endswith(" ii")
    assert not states.get("cros-gpu", "").endswith(" ii")
    assert f" {guest.kind.release} main" in guest.sh("cat /etc/apt/sources.list.d/cros-gpu-alpha.list")
    assert "Pin-Priority" in guest.sh("cat /etc/apt/preferences.d/cros-gpu-alpha.pref")
    assert guest.failures() == []
    guest.apt("install", "cros-gpu")
    assert not guest.ours()["cros-gpu-alpha"].endswith(" ii")
    guest.apt("purge", "cros-gpu-alpha")
    assert changes(before, guest) == []
    guest.root.stop()


@pytest.mark.parametrize("base", kinds("bookworm"), indirect=True)
def test_upgrade_from_the_original(base: Base, tmp_path: Path) -> None:
    guest = base.clone("original")
    before = guest.snapshot()
    place = base.repositories / "original"
    place.mkdir()
    wanted = [original for original in ORIGINALS if guest.kind.suits(original.name)]
    names = [make(original, place).name for original in wanted]
    for tree in place.glob("*.tree"):
        shutil.rmtree(tree)
    assert dpkg(guest, "--install", *[f"{REPOSITORIES}/original/{name}" for name in names]) == 0
    guest.write(CONF, "DisableAutomaticCrosPackageUpdates=true\n")
    cros = "/etc/apt/sources.list.d/cros.list"
    guest.write(cros, "deb https://storage.example/cros-packages/72 stable main\n")

    guest.sh(f"mv {cros} /root")  # there is no network to update it from
    guest.use("ours")
    guest.sh(f"mv /root/cros.list {cros}")
    guest.apt("--option=Dpkg::Options::=--force-confold", "dist-upgrade")
    assert {state for state in guest.ours().values() if state.startswith("0.")} == set()
    assert guest.sh(f"cat {CONF}") == "DisableAutomaticCrosPackageUpdates=true\n"
    assert guest.failures() == []
    guest.restart()
    assert guest.failures(but=()) == []
    guest.user.check_active(SESSION)
    # What only the original had in its places is gone.
    assert (
        guest.sh("""
ls -d /etc/apt/trusted.gpg.d/cros.gpg /etc/tmpfiles.d/00-create-logs-dir.conf /usr/share/cros-pulse-config \
    /etc/systemd/user/default.target.wants/sommelier*  /usr/lib/systemd/user/default.target.wants/cros-garcon.service \
    2>/dev/null || :""")
        == ""
    )
    assert "[signed-by=/usr/share/keyrings/cros-archive-keyring.gpg]" in guest.sh(f"cat {cros}")

    guest.purge()
    guest.sh(f"rm -f {CONF}.dpkg-dist {cros} /etc/apt/sources.list.d/local.list")
    assert guest.failures() == []
    assert changes(before, guest) == []
    guest.root.stop()


@pytest.mark.packages
def test_release_upgrade_of_the_same_milestone(installed: Installed, built: Built) -> None:
    if installed.guest.kind.release != "bookworm":
        pytest.skip("the upgrade is from bookworm")
    guest = installed.base.clone("newer", of="installed")
    place = installed.base.repositories / "newer"
    shutil.copytree(built("trixie"), place)
    make_repository(place)
    guest.use("newer")
    guest.apt("upgrade")
    behind = {name for name, state in guest.ours().items() if not state.endswith("+deb13 ii")}
    # Its toolkits have other names in trixie.
    assert behind == {"cros-adapta"}
    assert guest.failures() == []
    guest.restart()
    assert guest.failures(but=()) == []
    guest.user.check_active(SESSION)
    wait_until(lambda: "DISPLAY=:0" in guest.login("env").splitlines(), f"the display of {host.USER}", timeout=30)
    guest.root.stop()
