"""What publishing jobs of the local runner may use, and others do not see: a store of buckets, and credentials."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.bucket import Stat
from common.errors import ArtifactError
from common.files import sha256_of
from common.store import Storage, Store, open_bucket, parse_storage
from kokoro.results import Out, Place

# What google-cloud-storage and its credentials read.
_WAY_IN = (
    "STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_QUOTA_PROJECT",
    "CLOUDSDK_CONFIG",
)  # fmt: skip


@dataclass(frozen=True)
class Access:
    """The store of one run.

    Attributes:
        store: where the buckets are.
        way_in: the variables that lead to it.
        secrets: the directories and files with credentials, which only publishing jobs may see.
    """

    store: Store
    way_in: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Path, ...] = ()

    @classmethod
    def of(cls, storage: str, out: Out, environ: Mapping[str, str]) -> "Access":
        """What --storage names. UsageError: it is unknown."""
        # A job has a home and a directory of its own, so that it has to be told where its user's credentials are.
        default = Path(environ.get("HOME") or "/") / ".config" / "gcloud"
        places = {"CLOUDSDK_CONFIG": Path(environ.get("CLOUDSDK_CONFIG") or default).absolute()}
        if key_file := environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            places["GOOGLE_APPLICATION_CREDENTIALS"] = Path(key_file).absolute()
        secrets = (out.store, *dict.fromkeys([default, *places.values()]))
        if parse_storage(storage) is Storage.DIRECTORY:
            return cls(Store(out.store), {}, secrets)
        way_in = {name: environ[name] for name in _WAY_IN if name in environ}
        return cls(Store(), way_in | {name: str(path) for name, path in places.items()}, secrets)

    @property
    def remote(self) -> bool:
        """Whether the network is needed for it."""
        return self.store.root is None

    @property
    def words(self) -> str:
        """What a command that means it has at its end."""
        return f" --storage {Storage.GCS}" if self.remote else ""

    def environment(self) -> dict[str, str]:
        """The variables of a job that publishes."""
        return {"CROS_STORE": str(self.store), **self.way_in}


def still_published(place: Place, store: Store) -> bool:
    """Whether what a publishing job says it published is still what the buckets show; true for other jobs.

    The sizes of the objects are compared, and the pointers' contents.

    Raises:
        NetworkError, ConfigError: a bucket cannot be asked.
    """
    try:
        said = place.published()
        if store.root is not None:
            root = store.root
            return all(sha256_of(root / name) == digest for name, digest in said.pointers.items()) and all(
                (root / name).stat().st_size == size for name, size in said.objects.items()
            )
    except (OSError, ArtifactError):
        return False
    wanted = {*said.objects, *said.pointers}
    have: dict[str, Stat] = {}
    for bucket in {name.partition("/")[0] for name in wanted}:
        names = [name.partition("/")[2] for name in wanted if name.startswith(f"{bucket}/")]
        have |= {f"{bucket}/{name}": stat for name, stat in open_bucket(store, bucket).stats(names).items()}
    return all(
        (stat := have.get(name)) is not None
        and said.objects.get(name, stat.size) == stat.size
        and said.pointers.get(name, stat.sha256) == stat.sha256
        for name in wanted
    )
