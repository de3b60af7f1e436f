"""Programs in a real container, and what is said when they cannot be run there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import CheckFailedError, DeadlineError
from common.waiting import wait_until
from lxd.container import Container, import_image
from lxd.daemon import lxd
from tests.lxd.conftest import SplitImage

pytestmark = [pytest.mark.lxd, pytest.mark.root]


def test_programs_and_the_ends_of_containers(good_image: SplitImage, tmp_path: Path) -> None:
    with lxd(directories=[], parent=tmp_path) as daemon, ThreadPoolExecutor(1) as pool:
        client = daemon.connect()
        image = import_image(client, good_image.metadata, good_image.rootfs)
        container = Container.create(client, "programs", image=image, devices={})
        container.start()
        container.wait_settled()
        answers = container.ask({"one": "exec sleep 0.5", "two": "echo $HOME", "three": "exit 3"})
        assert [answer.exit_code for answer in answers.values()] == [0, 0, 3]
        assert answers["two"].out == "/root\n"
        with pytest.raises(DeadlineError, match=r"sleep 60 did not finish in 0\.5 s"):
            container.run(["sleep", "60"], timeout=0.5)
        assert container.run(["no-such-program"]).exit_code == 127

        # It ends by itself, and not because we asked for it.
        other = Container(daemon.connect(), container.name)
        waiting = pool.submit(other.run, ["sleep", "54321"])
        wait_until(
            lambda: "sleep 54321" in container.get(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]),
            "the program",
            timeout=20,
        )
        container.stop()
        with pytest.raises(CheckFailedError, match="'sleep' cannot be run in programs"):
            waiting.result(60)

        container.start()
        container.wait_settled()
        container.get(["sh", "-c", "mv /usr/bin/python3 /usr/bin/python-that-was"])
        container.stop()
        container.start()
        with pytest.raises(CheckFailedError, match="'echo' cannot be run in programs") as caught:
            container.run(["echo"])
        assert "python3" in caught.value.details or "not found" in caught.value.details
