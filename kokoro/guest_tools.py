"""The guest_tools build: the guest packages of each Debian release, side by side."""

from concurrent.futures import ThreadPoolExecutor

from debs.build import build_debs
from debs.version import version
from kokoro.env import KokoroEnv

KEYRING = "cros-archive-keyring.asc"
# One for each release there is: a build waits for the disk about as long as it computes.
_AT_ONCE = 3


def build(env: KokoroEnv) -> None:
    """Leave `<release>-debs/*.deb` for every release asked for.

    Raises:
        ArtifactError: the keyring that cros-apt-config ships is missing.
        ReleaseError: whatever stopped a build.
    """

    def build_one(release: str) -> None:
        build_debs(
            release,
            version=version(env.branch, env.source_date_epoch, release),
            epoch=env.source_date_epoch,
            keyring=env.gfile_dir / KEYRING,
            out=env.artifacts_dir / f"{release}-debs",
            cache=env.cache_dir,
        )

    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for finished in [workers.submit(build_one, release) for release in env.releases]:
            finished.result()
