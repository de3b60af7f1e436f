"""A build's .cfg as the runner needs it: common.cfg of the directories above, then the file itself, checked."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.errors import ConfigError
from common.files import ROOT
from kokoro import textproto
from kokoro.build_config_pb2 import BuildConfig as Proto

log = logging.getLogger(__name__)

COMMON = "common.cfg"


@dataclass(frozen=True, kw_only=True)
class ArtifactSpec:
    """One define_artifacts: Ant globs (the field is called regex), and what becomes of their names."""

    regexes: tuple[str, ...]
    strip_prefix: str
    fail_if_no_artifacts: bool


@dataclass(frozen=True, kw_only=True)
class KeystoreResource:
    """A key a build asks for."""

    config_id: int
    keyname: str

    @property
    def filename(self) -> str:
        """Its file below KOKORO_KEYSTORE_DIR."""
        return f"{self.config_id}_{self.keyname}"


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What a .cfg says.

    Attributes:
        name: the file's own stem; a symlink has its own, whatever it points at.
        build_file: `<scm name>/<path>` of the script to run.
        timeout_mins: minutes, or None for no limit.
        gfile_resources: what Kokoro puts into KOKORO_GFILE_DIR: `/bigstore/<bucket>/<path>`, `/x20/...`.
        env_vars: (key, value), each key once; where several files set one, the value nearest to the build.
        artifacts: what the build hands on.
        keystore: the keys it gets.
    """

    name: str
    build_file: str
    timeout_mins: int | None
    gfile_resources: tuple[str, ...]
    env_vars: tuple[tuple[str, str], ...]
    artifacts: tuple[ArtifactSpec, ...]
    keystore: tuple[KeystoreResource, ...]

    @property
    def script(self) -> str:
        """The path of build_file inside the checkout: what follows `<scm name>/` (or `github/<name>/`)."""
        return _inside_checkout(self.build_file)


def load(cfg: Path, *, root: Path = ROOT) -> BuildConfig:
    """Read a build's config.

    A common.cfg in each directory from `root` down to the file's own applies first: a later file replaces single
    values and adds to lists. Fields the schema does not have are skipped, and named in a warning.

    Args:
        cfg: a .cfg, or a symlink to one.
        root: the repository's root; no common.cfg above it is read.

    Raises:
        ConfigError: a file is missing or does not parse (file:line:column), or says what makes no sense.
    """
    merged = Proto()
    for path in [*_commons(cfg, root), cfg]:
        proto, unknown = textproto.parse(path)
        for field in unknown:
            log.warning(
                "%s:%d: unknown field %r in %s is ignored; %s", path, field.line, field.name, field.message, field.hint
            )
        merged.MergeFrom(proto)
    return _checked(cfg, merged)


def _commons(cfg: Path, root: Path) -> list[Path]:
    """The common.cfg files that apply, the uppermost first. Where a symlink lies counts, not where it points."""
    folder, top = cfg.parent.resolve(), root.resolve()
    folders = [folder, *folder.parents] if folder.is_relative_to(top) else [folder]
    found = [place / COMMON for place in folders if place.is_relative_to(top) or place == folder]
    return [path for path in reversed(found) if path.is_file() and cfg.name != COMMON]


def _checked(cfg: Path, proto: Proto) -> BuildConfig:
    if not proto.build_file:
        raise ConfigError(f"{cfg}: build_file is missing", hint=f'build_file: "<scm name>/kokoro/{cfg.stem}.sh"')
    script = PurePosixPath(_inside_checkout(proto.build_file))
    if not script.name or script.is_absolute() or ".." in script.parts:
        raise ConfigError(
            f"{cfg}: build_file {proto.build_file!r} does not name a file of the checkout",
            hint=f'build_file: "<scm name>/kokoro/{cfg.stem}.sh"',
        )
    if proto.HasField("timeout_mins") and proto.timeout_mins < 1:
        raise ConfigError(f"{cfg}: timeout_mins is {proto.timeout_mins}", hint="give minutes above 0, or leave it out")
    return BuildConfig(
        name=cfg.stem,
        build_file=proto.build_file,
        timeout_mins=proto.timeout_mins if proto.HasField("timeout_mins") else None,
        gfile_resources=tuple(proto.gfile_resources),
        env_vars=_env_vars(cfg, proto),
        artifacts=tuple(
            ArtifactSpec(
                regexes=tuple(spec.regex),
                strip_prefix=spec.strip_prefix,
                fail_if_no_artifacts=spec.fail_if_no_artifacts,
            )
            for spec in (action.define_artifacts for action in proto.action if action.HasField("define_artifacts"))
        ),
        keystore=tuple(_keystore(cfg, proto)),
    )


def _keystore(cfg: Path, proto: Proto) -> Iterator[KeystoreResource]:
    for before in proto.before_action:
        for resource in before.fetch_keystore.keystore_resource:
            if not resource.keyname or "/" in resource.keyname or resource.keystore_config_id < 1:
                said = f"{resource.keystore_config_id} {resource.keyname!r}"
                raise ConfigError(
                    f"{cfg}: keystore_resource {said} cannot name a key's file",
                    hint='keystore_resource { keystore_config_id: 73103 keyname: "NAME" }',
                )
            yield KeystoreResource(config_id=resource.keystore_config_id, keyname=resource.keyname)


def _env_vars(cfg: Path, proto: Proto) -> tuple[tuple[str, str], ...]:
    values: dict[str, str] = {}
    for variable in proto.env_vars:
        if not variable.key or "=" in variable.key or "\0" in variable.key + variable.value:
            raise ConfigError(
                f"{cfg}: env_vars key {variable.key!r} cannot be a variable's name",
                hint='env_vars { key: "NAME" value: "..." }',
            )
        values[variable.key] = variable.value
    return tuple(values.items())


def _inside_checkout(build_file: str) -> str:
    """Kokoro lays checkouts at <scm name>/ (below git/), or github/<name>/."""
    first, _, rest = build_file.partition("/")
    return rest.partition("/")[2] if first == "github" else rest
