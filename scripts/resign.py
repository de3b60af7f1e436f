"""Release files signed anew, with the time of now, by the one build that sees the signing key."""

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path

from common import tools
from common.branches import JOB_PREFIX, active_branches
from common.errors import SigningError
from common.files import ROOT, secret_parent, workspace
from common.keyring import throwaway_key
from common.snapshots import Snapshot, Snapshots
from common.store import Storage, parse_storage
from common.waiting import wait_until
from kokoro.apt_signer import KEY, RELEASES
from kokoro.desk import out_directory
from kokoro.env import SCM, environment

_TIMEOUT = 300.0  # seconds
_BEHIND = 30.0  # seconds that the clocks of two machines may differ by
_FILES = ("Release", "Release.gpg", "InRelease")


def signed_anew(
    source: Snapshots, snapshot: Snapshot, codenames: Mapping[str, dt.datetime], keys: str, out: str, storage: str
) -> dict[str, Mapping[str, bytes]]:
    """Have apt_signer date and sign Release files of a snapshot; by codename, the three files.

    It runs as Kokoro would run it, in a process of its own: whoever publishes sees no key, and who signs no bucket.

    Args:
        source, snapshot: of which the Release files are.
        codenames: which of them, and the Date that each has to be no older than.
        keys: a directory with key files as the keystore has them; "" at a desk, for its throwaway key.
        out, storage: as --out and --storage have it.

    Raises:
        SigningError: there is no key, or only a throwaway one, and the store is Google's; or this clock is behind.
        CommandError: apt_signer failed, with its own words.
    """
    if not keys and parse_storage(storage) is Storage.GCS:
        raise SigningError("no key is named, and a throwaway key stays off gs://", hint=f"--keys DIR with *_{KEY}*")
    _wait_for(max(codenames.values()))
    with workspace("resign") as place, workspace("keystore", parent=secret_parent()) as keystore:
        if not keys:
            secret = throwaway_key(out_directory(out) / "keys").secret
            shutil.copyfile(secret, keystore / f"73103_{KEY}")
        for codename in codenames:
            path = place / "gfile" / RELEASES / codename / "Release"
            path.parent.mkdir(parents=True)
            path.write_bytes(source.read_kept(snapshot.objects[f"dists/{codename}/Release"].sha256).content)
        checkout = place / "root" / "git" / SCM
        checkout.parent.mkdir(parents=True)
        checkout.symlink_to(ROOT)
        tools.run(
            [ROOT / "kokoro" / "apt_signer.sh"],
            env={
                # It signs what it is handed; the branch it is of may not be active any more, and then has no jobs.
                "KOKORO_JOB_NAME": f"{JOB_PREFIX}/{active_branches()[0].milestone}/apt_signer",
                "KOKORO_ARTIFACTS_DIR": str(place / "root"), "KOKORO_GFILE_DIR": str(place / "gfile"),
                "KOKORO_KEYSTORE_DIR": str(Path(keys).absolute() if keys else keystore),
                "CROS_VENV": environment().get("CROS_VENV", str(ROOT / ".venv")),
            },
            timeout=_TIMEOUT, quiet=True,
        )  # fmt: skip
        signed = place / "root" / RELEASES
        return {codename: {name: (signed / codename / name).read_bytes() for name in _FILES} for codename in codenames}


def _wait_for(date: dt.datetime) -> None:
    """Wait until it is no earlier than a Date that clients have seen: they pass over an older one.

    Raises:
        SigningError: that would take too long.
    """
    behind = (date - dt.datetime.now(dt.UTC)).total_seconds()
    if behind > _BEHIND:
        raise SigningError(
            f"what is live is of {date}, and this machine's clock is {behind:.0f} s behind that",
            hint="set the clock: clients pass over a repository that is older than what they have seen",
        )
    wait_until(lambda: dt.datetime.now(dt.UTC) >= date, f"the time to be {date}", timeout=_BEHIND + 1)
