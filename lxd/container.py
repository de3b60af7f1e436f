"""A container under test: launch it, run programs in it, wait for its systemd, read its journal."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pylxd
from requests_toolbelt import MultipartEncoder

from common.errors import CheckFailedError, CommandError, DeadlineError, ImageError
from common.waiting import scaled, wait_until
from lxd.client import translated, wait_for
from lxd.programs import Programs, Ran

BOOT_TIMEOUT = 120.0
RUN_TIMEOUT = 120.0
JOURNAL_LINES = 80
# What `systemctl is-system-running` says of a manager that has not finished starting.
_STARTING = {"", "offline", "initializing", "starting", "unknown"}
# Of an image that is uploaded; pylxd's own way takes 16 kB at a time, which is 40,000 turns of Python.
_BLOCK = 1 << 20
# How many scripts `ask` has running at once.
AT_ONCE = 4


def import_image(client: pylxd.Client, metadata: Path, rootfs: Path) -> str:
    """Give LXD a split image (metadata tar and squashfs); returns its fingerprint.

    Raises:
        ImageError: it is no image to LXD.
    """
    try:
        with translated(), metadata.open("rb") as meta, rootfs.open("rb") as root:
            form = MultipartEncoder({"metadata": ("metadata", meta), "rootfs": ("rootfs", root)})
            blocks = iter(lambda: form.read(_BLOCK), b"")
            posted = client.api.images.post(data=blocks, headers={"Content-Type": form.content_type})
            return str(client.operations.wait_for_operation(posted.json()["operation"]).metadata["fingerprint"])
    except CommandError as err:
        raise ImageError(f"{metadata} and {rootfs} are no LXD image", details=err.what, hint="build it again") from err


class Container:
    """A container; its methods raise CheckFailedError when the image is at fault."""

    def __init__(self, client: pylxd.Client, name: str, *, uid: int = 0, programs: Programs | None = None) -> None:
        self._client, self.name, self.uid = client, name, uid
        self._api = client.api.instances[name]
        self._programs = programs or Programs(client, name)

    @classmethod
    def create(
        cls, client: pylxd.Client, name: str, *, image: str, devices: Mapping[str, Mapping[str, str]]
    ) -> "Container":
        """Make a container of an image, not started yet.

        Raises:
            ImageError: LXD cannot unpack the image.
        """
        asked = {"name": name, "source": {"type": "image", "fingerprint": image}, "devices": devices}
        try:
            with translated():
                wait_for(client, client.api.instances.post(json=asked))
        except CommandError as err:
            raise ImageError("LXD cannot unpack the image", details=err.what, hint="build it again") from err
        return cls(client, name)

    def as_user(self, uid: int) -> "Container":
        """The same container, its programs run by this user, as in a session of theirs."""
        return Container(self._client, self.name, uid=uid, programs=self._programs)

    def start(self) -> None:
        """Start it; systemd is not up yet then.

        Raises:
            ImageError: LXD cannot start what is in the image.
        """
        try:
            with translated():
                asked = {"action": "start", "timeout": int(scaled(120))}
                wait_for(self._client, self._api.state.put(json=asked))
        except CommandError as err:
            raise ImageError("LXD cannot start the image", details=err.what, hint="is there a /sbin/init?") from err

    def stop(self) -> None:
        """Switch it off."""
        self._programs.forget()
        wait_for(self._client, self._api.state.put(json={"action": "stop", "force": True, "timeout": int(scaled(30))}))

    def stop_cleanly(self, *, timeout: float) -> None:
        """Ask its init to end everything, as Chrome OS does when it is switched off.

        Raises:
            CheckFailedError: it has not ended after `timeout` seconds; then it is switched off.
        """
        timeout = scaled(timeout)
        try:
            with translated():
                asked = {"action": "stop", "force": False, "timeout": int(timeout)}
                wait_for(self._client, self._api.state.put(json=asked))
            self._programs.forget()
        except CommandError as err:
            jobs = self.systemctl("list-jobs", "--no-pager").out
            self.stop()
            raise CheckFailedError(f"it did not end in {timeout:g} s", details=f"{err.what}\n{jobs}") from err

    def set_devices(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        """Replace its own devices (the profile's stay)."""
        answer = self._api.patch(json={"devices": devices})
        if answer.status_code == 202:  # newer LXDs do it in the background
            wait_for(self._client, answer)

    def run(self, argv: Sequence[str], *, timeout: float = RUN_TIMEOUT) -> Ran:
        """Run a program to its end, whatever its exit code.

        Raises:
            DeadlineError: it takes longer than `timeout` seconds.
        """
        environment = {"LC_ALL": "C.UTF-8", "HOME": "/root"}
        if self.uid:
            environment |= {"XDG_RUNTIME_DIR": f"/run/user/{self.uid}", "HOME": "/"}
        return self._programs.run(argv, environment=environment, uid=self.uid, timeout=scaled(timeout))

    def get(self, argv: Sequence[str], *, timeout: float = RUN_TIMEOUT) -> str:
        """Run a program that has to succeed, and return what it printed."""
        ran = self.run(argv, timeout=timeout)
        if ran.exit_code != 0:
            raise CheckFailedError(f"{' '.join(argv)} exited with {ran.exit_code}", details=f"{ran.out}{ran.err}")
        return ran.out

    def ask(self, questions: Mapping[str, str], *, timeout: float = RUN_TIMEOUT) -> dict[str, Ran]:
        """Run several independent shell scripts at once; by their names."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = pool.map(lambda script: self.run(["sh", "-c", script], timeout=timeout), questions.values())
            return dict(zip(questions, answers, strict=True))

    def systemctl(self, *words: str, timeout: float = RUN_TIMEOUT) -> Ran:
        """Ask the service manager, the user's where there is a user."""
        return self.run(["systemctl", *(["--user"] if self.uid else []), *words], timeout=timeout)

    @property
    def _manager(self) -> str:
        return "the user manager" if self.uid else "the system"

    def wait_settled(self) -> str:
        """Wait until the manager has started everything; returns `running`, or `degraded` where something failed."""

        def settled() -> str:
            # The bus is not up at once: then systemctl prints nothing.
            state = self.systemctl("is-system-running", "--wait", timeout=BOOT_TIMEOUT).out.strip()
            return "" if state in _STARTING else state

        try:
            return wait_until(settled, f"{self._manager} to start", timeout=BOOT_TIMEOUT)
        except DeadlineError as err:
            jobs = self.systemctl("list-jobs", "--no-pager")
            raise CheckFailedError(
                f"{self._manager} did not start in {scaled(BOOT_TIMEOUT):g} s", details=jobs.out + jobs.err
            ) from err

    def wait_running(self, *, but: Collection[str] = ()) -> None:
        """Wait until the manager has started everything, and see that nothing has failed.

        Args:
            but: units that may have failed.
        """
        state = self.wait_settled()
        if state == "running":
            return
        listed = self.systemctl("list-units", "--state=failed", "--plain", "--no-legend", "--no-pager").out
        units = [line.split()[0] for line in listed.splitlines() if line.strip()]
        failed = [unit for unit in units if unit not in but]
        if failed or state != "degraded" or not units:
            raise CheckFailedError(
                f"{self._manager} is {state!r}, not 'running': {', '.join(failed) or 'no unit'} failed",
                details=self.journal(*failed),
            )

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        shown = self.systemctl("show", unit, f"--property={','.join(names)}").out
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def check_active(self, units: Iterable[str]) -> None:
        """See that units are active and were never restarted."""
        wrong = {}
        for unit in units:
            found = self.properties(unit, "LoadState", "ActiveState", "SubState", "NRestarts")
            restarts = found.get("NRestarts", "0")
            if found.get("LoadState") != "loaded":
                wrong[unit] = f"is {found.get('LoadState', 'unknown')}"
            elif found["ActiveState"] != "active" or restarts != "0":
                wrong[unit] = f"is {found['ActiveState']} ({found['SubState']}), restarted {restarts} times"
        if wrong:
            raise CheckFailedError(
                "; ".join(f"{unit} {what}" for unit, what in wrong.items()),
                details=self.journal(*wrong),
            )

    def journal(self, *units: str) -> str:
        """The last lines of the units' journal; of a user's units, the whole user's.

        What a short-lived program of a user printed is recorded as the user's, but of no unit.
        """
        root = self.as_user(0)
        root.run(["journalctl", "--sync"])
        which = [f"_UID={self.uid}"] if self.uid else [f"--unit={unit}" for unit in units]
        short = ["--boot", "--no-pager", "--output=short-monotonic", f"--lines={JOURNAL_LINES}"]
        return f"journal of {', '.join(units)}:\n{root.run(['journalctl', *short, *which]).out}"

    def mock_calls(self, program: str) -> list[dict[str, object]]:
        """How a stand-in of the host's programs (lxd/mocks) was called by this user: its argv and environment."""
        place = f"/run/user/{self.uid}" if self.uid else "/run"
        ran = self.run(["cat", f"{place}/cros-mocks/{program}.jsonl"])
        return [json.loads(line) for line in ran.out.splitlines()]
