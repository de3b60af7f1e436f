"""--storage: who gets what of the way to Google Cloud Storage, and whether what was published is still there."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.bucket import Kind
from common.bucket_gcs import GcsBucket
from common.errors import UsageError
from common.publication import note
from common.store import Store
from kokoro.buckets import Access, still_published
from kokoro.env import KokoroEnv
from kokoro.results import Out, Place
from tests.common.buckets import EMULATOR_VARIABLE, strict
from tests.kokoro.test_env import GOOD
from tests.support import Checkout, toy_build

# Builds end with their process, and with it their connections.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_the_directory_is_the_default(tmp_path: Path) -> None:
    access = Access.of("directory", Out(tmp_path), {"HOME": "/home/me", EMULATOR_VARIABLE: "http://x"})
    assert access.environment() == {"CROS_STORE": f"{tmp_path}/gs"}
    assert (access.remote, access.words) == (False, "")
    assert access.secrets == (tmp_path / "gs", Path("/home/me/.config/gcloud"))
    elsewhere = {"HOME": "/home/me", "CLOUDSDK_CONFIG": "/c", "GOOGLE_APPLICATION_CREDENTIALS": "/k.json"}
    assert Access.of("directory", Out(tmp_path), elsewhere).secrets == (
        tmp_path / "gs", Path("/home/me/.config/gcloud"), Path("/c"), Path("/k.json"),
    )  # fmt: skip


def test_google_needs_its_way_in(tmp_path: Path) -> None:
    found = {"HOME": "/home/me", "GOOGLE_APPLICATION_CREDENTIALS": "/k.json", "PATH": "/bin", EMULATOR_VARIABLE: "x"}
    access = Access.of("gcs", Out(tmp_path), found)
    assert access.environment() == {
        "CROS_STORE": "gs://", "CLOUDSDK_CONFIG": "/home/me/.config/gcloud", EMULATOR_VARIABLE: "x",
        "GOOGLE_APPLICATION_CREDENTIALS": "/k.json",
    }  # fmt: skip
    assert (access.remote, access.words) == (True, " --storage gcs")
    assert Access.of("gcs", Out(tmp_path), {"CLOUDSDK_CONFIG": "/c"}).environment()["CLOUDSDK_CONFIG"] == "/c"
    beside = Access.of("gcs", Out(tmp_path), {"GOOGLE_APPLICATION_CREDENTIALS": "k.json"}).environment()
    assert beside["GOOGLE_APPLICATION_CREDENTIALS"] == str(Path("k.json").absolute()), "a job has another directory"


def test_an_unknown_storage_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown storage 'gs'") as caught:
        Access.of("gs", Out(tmp_path), {})
    assert "known: directory, gcs" in caught.value.hint


def test_what_a_build_is_told() -> None:
    env = KokoroEnv.read({**GOOD, "CROS_STORE": "gs://"})
    assert (env.store, env.emulated) == (Store(), False)
    env = KokoroEnv.read({**GOOD, "CROS_STORE": "/out/gs", EMULATOR_VARIABLE: "http://x"})
    assert (env.store, env.emulated) == (Store(Path("/out/gs")), True)
    assert [str(Store.parse(text)) for text in ("gs://", "/out/gs")] == ["gs://", "/out/gs"]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsBucket]:
    with strict(tmp_path) as place, place.bucket("cros-packages-staging") as bucket:
        monkeypatch.setenv(EMULATOR_VARIABLE, place.url)
        assert isinstance(bucket, GcsBucket)
        yield bucket
    gc.collect()


def test_whether_it_is_still_published(bucket: GcsBucket, tmp_path: Path) -> None:
    place = Place(tmp_path / "job")
    place.artifacts.mkdir(parents=True)
    for name, kind in (("72/InRelease", Kind.POINTER), ("72/pool/a", Kind.IMMUTABLE)):
        bucket.upload(b"x", name, kind=kind)
    (place.artifacts / "published.json").write_text(note(bucket, ["72/InRelease"], {"72/pool/a": 1}, {}))
    assert still_published(place, Store())
    bucket.upload(b"y", "72/InRelease", kind=Kind.POINTER)
    assert not still_published(place, Store())
    bucket.upload(b"x", "72/InRelease", kind=Kind.POINTER)
    assert still_published(place, Store())
    bucket.delete("72/pool/a")
    assert not still_published(place, Store())


def test_only_a_job_that_publishes_sees_the_way_in(toy: Checkout, tmp_path: Path) -> None:
    flows = toy.path / "kokoro" / "flows.toml"
    flows.write_text(flows.read_text().replace('needs = ["signing-key"]', 'needs = ["bucket"]'))
    says = (
        "mkdir -p out && { env | grep -E '^(CROS_STORE|GOOGLE|CLOUDSDK|STORAGE)' || :;"
        ' sed 1,2d /proc/net/dev | cut -d: -f1; ls "$CONFIG" "$DEFAULT" || :; cat "$KEY"; } >out/NAME.txt'
    )
    config, default, key = tmp_path / "gcloud", tmp_path / ".config" / "gcloud", tmp_path / "key.json"
    for folder, name in ((config, "application_default_credentials.json"), (default, "access_tokens.db")):
        folder.mkdir(parents=True)
        (folder / name).write_text("{}")
    key.write_text("the key file\n")
    secrets = "".join(
        f'env_vars {{ key: "{name}" value: "{path}" }} '
        for name, path in (("CONFIG", config), ("DEFAULT", default), ("KEY", key))
    )
    toy_build(toy, "left", says.replace("NAME", "left"), secrets)
    toy_build(toy, "right", says.replace("NAME", "right"), f'{secrets} env_vars {{ key: "CROS_STORE" value: "gs://" }}')
    toy_build(toy, "both", 'mkdir -p out && cp "$KOKORO_GFILE_DIR"/*.txt out/')
    toy.commit()
    run = ("invoke", "continuous", "--branch", "main")
    way_in = {
        "CLOUDSDK_CONFIG": str(config), "GOOGLE_CLOUD_PROJECT": "p", EMULATOR_VARIABLE: "e",
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
    }  # fmt: skip
    done = toy.run(*run, "--storage", "gcs", timeout=120, **way_in)
    assert done.code == 0, done.output
    jobs = toy.path / "out" / "jobs" / "cros-containers" / "crostini-guest"
    [folder] = [path for path in jobs.glob("*/both/artifacts") if path.is_dir()]
    right, left = ((folder / f"{name}.txt").read_text().splitlines() for name in ("right", "left"))
    assert {"CROS_STORE=gs://", *(f"{name}={value}" for name, value in way_in.items())} <= set(right)
    assert {"application_default_credentials.json", "access_tokens.db", "the key file"} <= set(right)
    seen = [line.strip() for line in left if line and not line.endswith(":")]  # ls names the directories
    assert seen == ["lo"], "no variable, no network but its own loopback, no credentials"
    again = toy.run(*run, CLOUDSDK_CONFIG=str(config))
    assert again.code == 0, again.output
    right = (folder / "right.txt").read_text().splitlines()
    assert f"CROS_STORE={toy.path}/out/gs" in right, "a .cfg's store is Kokoro's"
    assert "GOOGLE_CLOUD_PROJECT=p" not in right
