"""The shell steps in an environment as a real Kokoro makes it: no local runner, no SOURCE_DATE_EPOCH, no BRANCH."""

from pathlib import Path

import pytest

from common import tools
from common.errors import ArtifactError, ConfigError
from tests.support import Checkout, Finished, wait

CONTROL = """Package: hello
Version: 1.0
Architecture: all
Maintainer: Test <test@localhost>
Section: misc
Priority: optional
Description: greets
"""


@pytest.fixture
def kokoro(checkout: Checkout, tmp_path: Path) -> Path:
    """KOKORO_ROOT: the checkout under git/, and a package of each release from a parent job."""
    source = tmp_path / "kokoro" / "src" / "git" / "cros-container-guest-tools"
    source.parent.mkdir(parents=True)
    checkout.path.rename(source)
    tree = tmp_path / "hello"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    for release in ("bullseye", "bookworm", "trixie"):
        debs = tmp_path / "kokoro" / "gfile" / f"{release}-debs"
        debs.mkdir(parents=True)
        tools.capture(["dpkg-deb", "--build", "--root-owner-group", tree, debs / "hello_1.0_all.deb"],
                      env={"SOURCE_DATE_EPOCH": "1"})  # fmt: skip
    return tmp_path / "kokoro"


def run_step(kokoro: Path, step: str, env: dict[str, str]) -> Finished:
    script = kokoro / "src" / "git" / "cros-container-guest-tools" / "kokoro" / f"{step}.sh"
    log = kokoro / "log"
    log.unlink(missing_ok=True)
    whole = {
        **tools.environment(),
        "KOKORO_ARTIFACTS_DIR": str(kokoro / "src"),
        "KOKORO_GFILE_DIR": str(kokoro / "gfile"),
        "KOKORO_JOB_NAME": f"cros-containers/crostini-guest/72/{step}",
        **env,
    }
    with tools.started([script], cwd=kokoro / "src", only_env=whole, log_file=log) as process:
        return Finished(wait(process, 120), log.read_text())


def test_a_build_runs_under_kokoro_as_it_is(kokoro: Path, checkout: Checkout) -> None:
    finished = run_step(kokoro, "apt_repo", dict(checkout.env))
    assert finished.code == 0, finished.output
    assert "cros-containers/crostini-guest/72/apt_repo for release-R72-11316.B, commit " in finished.output
    assert "(none)" not in finished.output
    for release in ("bullseye", "bookworm", "trixie"):
        packages = kokoro / "src" / "apt_unsigned" / "dists" / release / "main" / "binary-amd64" / "Packages"
        assert "Package: hello" in packages.read_text()


def test_env_vars_of_the_job_narrow_it(kokoro: Path, checkout: Checkout) -> None:
    finished = run_step(kokoro, "apt_repo", {**checkout.env, "RELEASES": "trixie"})
    assert finished.code == 0, finished.output
    assert [path.name for path in (kokoro / "src" / "apt_unsigned" / "dists").iterdir()] == ["trixie"]


def test_what_goes_wrong_is_one_sentence_and_an_exit_code(kokoro: Path, checkout: Checkout) -> None:
    finished = run_step(kokoro, "apt_signer", dict(checkout.env))
    assert finished.code == ArtifactError.exit_code
    assert finished.output.count("error: ") == 1
    assert "Traceback" not in finished.output
    finished = run_step(kokoro, "apt_repo", {**checkout.env, "KOKORO_JOB_NAME": "nonsense"})
    assert finished.code == ConfigError.exit_code
    assert "KOKORO_JOB_NAME 'nonsense' has no milestone" in finished.output
