"""Every check is red in a container that is broken in its way, with the reason; all are green in one that is not.

The image is the one that the README's first command has made.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from common.errors import CheckFailedError
from common.mirror import native_arch
from lxd import host, repository
from lxd.about import About
from lxd.checks import CHECKS, Check, Guest, Run, Situation, apt, boot, network, restart, session
from lxd.container import Container, import_image
from lxd.daemon import lxd
from lxd.repository import serving
from tests.lxd.damages import DAMAGES, Damage
from tests.support import JOBS, Finished

pytestmark = [pytest.mark.flow, pytest.mark.lxd, pytest.mark.timeout(3600)]

IMAGE = JOBS / f"lxd_container_{native_arch()}_bookworm/artifacts/lxd/bookworm/{native_arch()}/default"
REPOSITORY = JOBS / "apt_signer/artifacts/apt_signed"
Guests = dict[Situation, Guest]


@pytest.fixture(scope="module")
def guests(continuous: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """A container with nothing of the host's, and one with everything but a GPU; both have started."""
    assert continuous.code == 0
    place = tmp_path_factory.mktemp("guests")
    with lxd(directories=[], parent=place) as daemon, serving(daemon.listen(), REPOSITORY) as url:
        run = Run(about=About.read(IMAGE / "lxd.tar.xz"), repository=True, url=url, gateway=daemon.gateway)
        image = import_image(daemon.connect(), IMAGE / "lxd.tar.xz", IMAGE / "rootfs.squashfs")
        (place / "host").mkdir()
        made = {}
        for situation, devices in ((Situation.BARE, {}), (Situation.HOST, host.devices(place / "host"))):
            container = Container.create(daemon.connect(), f"check-{situation}", image=image, devices=devices)
            container.start()
            container.wait_running()
            made[situation] = Guest(container, situation, run)
        host.make_user(made[Situation.HOST].root).wait_running()
        yield made


def named(name: str) -> Check:
    [check] = [check for check in CHECKS if check.name == name]
    return check


def red(check: Check, guest: Guest, *words: str) -> None:
    """The check fails, and says these words, each a regular expression."""
    with pytest.raises(CheckFailedError) as caught:
        check.function(guest)
    said = str(caught.value)
    missing = [word for word in words if not re.search(word, said)]
    assert not missing, f"{missing} in:\n{said}"


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_the_check_is_red(guests: Guests, damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "DHCP_TIMEOUT", 0.5)
    monkeypatch.setattr(session, "CALL_TIMEOUT", 0.5)
    monkeypatch.setattr(apt, "BIND_TIMEOUT", 0.5)
    guest = guests[damage.situation]
    with damage.done(guest) as check:
        red(check, guest, *damage.words)


def test_another_containers_machine_id_is_noticed(guests: Guests) -> None:
    guest = guests[Situation.BARE]
    mine = guest.root.get(["cat", "/etc/machine-id"]).strip()
    copied = replace(guest, run=Run(machine_ids={"check-host": mine}))
    red(named("machine-id-is-its-own"), copied, f"{mine!r} in check-host and in check-bare")


def test_a_slow_start_is_noticed(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "BOOT_LIMIT", 0.01)
    red(named("starts-in-time"), guests[Situation.BARE], r"took \d+\.\d s to start, more than 0\.01 s", r"\.service")


def test_an_apt_that_takes_anything_is_noticed(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "altered", lambda _kind, _path, content: content)
    red(
        named("apt-refuses-what-was-changed"),
        guests[Situation.HOST],
        "apt takes a changed InRelease; apt takes a changed list of packages; apt takes a changed package",
    )


def test_a_source_that_is_bound_while_the_container_ends_is_no_failure(guests: Guests) -> None:
    unit = "cros-bind-keyring.service"
    script = f"""
        flock /etc/apt/sources.list.d sleep 60 &
        systemctl start --no-block {unit}
        until [ "$(systemctl is-active {unit})" = activating ]; do sleep 0.1; done
        systemctl stop {unit}
        kill $!
        systemctl show --property=Result --value {unit}
    """
    assert guests[Situation.HOST].root.get(["sh", "-euc", script]) == "success\n"


@pytest.mark.parametrize("situation", [Situation.BARE, Situation.HOST])
def test_whole_containers_pass(guests: Guests, situation: Situation) -> None:
    """After all that was done to them; what the GPU has is left out, and the restart is for the last test."""
    guest = guests[situation]
    calls = f"/run/user/{host.UID}/cros-mocks/garcon.jsonl"
    if situation is Situation.HOST:
        guest.root.get(["sed", "-i", "1!d", calls])
    restarts = {"stops-cleanly", "starts-again", "journal-is-kept", "no-unit-failed-at-the-end"}
    wanted = {situation, Situation.GPU} if situation is Situation.HOST else {situation}
    for check in CHECKS:
        if not check.is_for(guest.about):
            continue
        if wanted & set(check.situations) and check.name not in restarts | {"gpu-set", "user-made"}:
            check.function(guest)


def test_a_restart_that_goes_wrong(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = guests[Situation.HOST]
    guest.root.get(
        [
            "sh",
            "-euc",
            """
            systemd-run --quiet --unit=broken sh -c 'exit 3'
            until systemctl is-failed --quiet broken.service; do sleep 0.1; done
            systemd-run --quiet --unit=stubborn --property=TimeoutStopSec=600 \\
                sh -c 'trap "" TERM; while :; do sleep 60; done'
            systemctl --quiet disable cros-sftp.service
            """,
        ]
    )
    monkeypatch.setattr(restart, "STOP_LIMIT", 5.0)
    red(named("stops-cleanly"), guest, r"did not end in 5 s", "stubborn")
    red(named("starts-again"), guest, r"cros-sftp\.service is inactive")
    red(named("no-unit-failed-at-the-end"), guest, r"broken\.service: Failed with result 'exit-code'")
    guest.root.get(["sh", "-euc", "rm -r /var/log/journal/*; chmod 700 /var/log/journal"])
    red(named("journal-is-kept"), guest, r"/var/log/journal is 2700", "a line written .* is gone")
