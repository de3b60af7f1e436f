from pathlib import Path

import pytest

from common.errors import ConfigError, UsageError
from kokoro.env import KokoroEnv

JOB = "cros-containers/crostini-guest/72/apt_repo"
GOOD = {
    "KOKORO_JOB_NAME": JOB,
    "KOKORO_ARTIFACTS_DIR": "/a",
    "KOKORO_GFILE_DIR": "/g",
    "SOURCE_DATE_EPOCH": "1500000000",
}


def read(**changes: str) -> KokoroEnv:
    return KokoroEnv.read({name: value for name, value in {**GOOD, **changes}.items() if value})


def test_the_milestone_of_the_job_is_the_branch() -> None:
    env = read()
    assert (env.branch.name, env.milestone, env.build) == ("release-R72-11316.B", 72, "apt_repo")
    assert env.source == Path("/a/git/cros-container-guest-tools")
    assert env.releases == env.branch.releases
    assert env.keystore_dir is None
    assert env.store is None


def test_a_name_with_an_architecture_and_a_release_narrows_to_them() -> None:
    env = read(KOKORO_JOB_NAME=JOB.replace("apt_repo", "lxd_container_arm64_trixie"))
    assert (env.arches, env.releases) == (("arm64",), ("trixie",))


def test_variables_narrow_the_matrix() -> None:
    env = read(RELEASES="trixie bookworm", ARCHES="amd64")
    assert (env.releases, env.arches) == (("bookworm", "trixie"), ("amd64",))


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not set"):
        read(**{name: ""})


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"KOKORO_JOB_NAME": "a/b/c/d"}, ConfigError, "no milestone as its third field"),
        ({"KOKORO_JOB_NAME": "a/b/99/d"}, UsageError, "no active branch has milestone 99"),
        ({"BRANCH": "main"}, UsageError, "branch 'main' is milestone 74, but the job is"),
        ({"SOURCE_DATE_EPOCH": "now"}, ConfigError, "'now', not a number of seconds"),
        ({"RELEASES": "sid"}, UsageError, "unknown release 'sid'"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read(**changes)
