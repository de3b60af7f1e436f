"""The unsigned apt repository: the packages of every release, one codename each, always with the same bytes."""

import datetime as dt
import shutil

from common.aptrepo import redated
from common.debfiles import collect
from common.files import workspace, write_atomically
from common.manifest import Manifest
from common.progress import step
from common.reprepro import Distribution, make_repository
from kokoro.env import KokoroEnv

OUTPUT = "apt_unsigned"


def build(env: KokoroEnv) -> None:
    """Make apt_unsigned/{dists,pool} and its manifest from `<release>-debs` and `<release>_mesa_debs`.

    The architectures are all of the branch's, however far the run is narrowed: losing one would break its users.
    """
    debs = {release: collect(env.gfile_dir, release) for release in env.releases}
    distributions = [Distribution(codename=release, arches=env.branch.arches) for release in env.releases]
    date = dt.datetime.fromtimestamp(env.source_date_epoch, dt.UTC)
    with workspace(".apt_repo", parent=env.artifacts_dir) as place:
        made = place / OUTPUT
        with step(f"Include {sum(map(len, debs.values()))} packages in {', '.join(env.releases)}"):
            make_repository(made, distributions, debs)
        for release in env.releases:
            path = made / "dists" / release / "Release"
            write_atomically(path, redated(path.read_text(), date))
        manifest = Manifest.of(made)
        target = env.artifacts_dir / OUTPUT
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    manifest.write(env.artifacts_dir / f"{OUTPUT}.manifest.json")
