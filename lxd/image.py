"""Builds LXD images: the lowest by mmdebstrap, every other type as a layer over the one before; packed and listed.

The same inputs give the same bytes. The lowest root file system is a squashfs, cached by what went into it; a layer is
a directory over it, and what is packed of it is what both show together.
"""

import contextlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from debian.deb822 import Deb822

from common import tools
from common.errors import ArtifactError, ToolMissingError, UsageError
from common.files import remove_stale, workspace
from common.layers import Root, Stack, stacked
from common.mirror import native_arch
from common.progress import step
from lxd import guest
from lxd.apps import App, FetchedApp, fetch_apps, install_apps
from lxd.contents import installed
from lxd.image_types import Layer, layers
from lxd.metadata import ImageName, write_metadata
from lxd.pack import SQUASHFS, TARBALL, pack, pack_tarball
from lxd.roots import Inputs, add_layer, cached_base
from lxd.sbom import write_lists

BINFMT = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}
_STATUS = "var/lib/dpkg/status"


def build_images(inputs: Inputs, types: Collection[str], out: Path, *, tarball: bool = False) -> Iterator[ImageName]:
    """Build images into `out/<type>`, and name each as soon as it is finished.

    An image is lxd.tar.xz, incus.tar.xz, rootfs.squashfs, packages.tsv and packages.cdx.json. What it stands on is
    made, too, but packed only where it is asked for.

    Args:
        inputs: what from.
        types: which.
        out: where.
        tarball: whether to make rootfs.tar.xz besides.

    Raises:
        ArtifactError: the repository, or an application's publisher, lacks something.
        ToolMissingError: a foreign architecture that this machine cannot run.
        NetworkError: the mirror lacks a file, which is named, or does not answer.
        DiskFullError, CommandError: from mmdebstrap, mount or mksquashfs.
    """
    google = repository_packages(inputs.repository, inputs.release, inputs.arch)
    inputs = replace(inputs, layers=_needed(inputs.layers or layers(inputs.release, google), types))
    prepare_for(inputs.arch)
    lowest, *others = inputs.layers
    applications = {
        layer.type: fetch_apps(inputs.arch, inputs.cache / "apps", apps=layer.apps) for layer in inputs.layers
    }
    place_of_all = inputs.cache / "images"
    place_of_all.mkdir(parents=True, exist_ok=True)
    remove_stale(place_of_all, ".layers-*")
    base = cached_base(inputs, lowest, google)
    with workspace(".layers", parent=place_of_all) as place, contextlib.ExitStack() as opened:
        stack = opened.enter_context(stacked(base, place))
        if lowest.type in types:
            yield _image(inputs, lowest.type, stack.base(), google, out, base=base, tarball=tarball)
        apps: list[App] = []
        for layer in others:
            root = _add(inputs, stack, layer, google, applications[layer.type])
            apps += [each.app for each in applications[layer.type]]
            if layer.type in types:
                yield _image(inputs, layer.type, root, google, out, apps=apps, tarball=tarball)


def _needed(chain: Sequence[Layer], types: Collection[str]) -> tuple[Layer, ...]:
    """The layers up to the uppermost type that is asked for."""
    known = [layer.type for layer in chain]
    for wanted in types:
        if wanted not in known:
            raise UsageError(f"unknown image type {wanted!r}", hint=f"known: {', '.join(known)}")
    return tuple(chain[: 1 + max(known.index(wanted) for wanted in types)])


def _add(
    inputs: Inputs, stack: Stack, layer: Layer, google: frozenset[tuple[str, str]], applications: Sequence[FetchedApp]
) -> Root:
    """Put a layer on the stack."""
    with step(f"Add the layer {layer.type} of {inputs.release} {inputs.arch}"):
        root = add_layer(inputs, stack, layer, google)
    install_apps(applications, root.path, epoch=inputs.epoch)
    return root


def _image(
    inputs: Inputs, kind: str, root: Root, google: frozenset[tuple[str, str]], out: Path, *, base: Path | None = None,
    apps: Sequence[App] = (), tarball: bool,
) -> ImageName:  # fmt: skip
    """Leave one image's files in `out/<type>`; `base` is its squashfs where there is one already."""
    name = ImageName(release=inputs.release, arch=inputs.arch, type=kind)
    folder = out / kind
    folder.mkdir(parents=True)
    if base is not None:
        shutil.copyfile(base, folder / SQUASHFS)
    else:
        with step(f"Pack {SQUASHFS} of {name}"):
            pack(root.path, folder / SQUASHFS, epoch=inputs.epoch)
    if tarball:
        with (
            step(f"Pack {TARBALL} of {name}"),
            workspace(".tarball", parent=out) as place,
            stacked(folder / SQUASHFS, place) as final,
        ):
            pack_tarball(final.base(), folder / TARBALL)
    listed = installed((root.path / _STATUS).read_text(), google)
    write_lists(folder, name, listed, milestone=inputs.milestone, epoch=inputs.epoch, apps=apps)
    write_metadata(name, folder, milestone=inputs.milestone, created=inputs.epoch)
    return name


def repository_packages(repository: Path, release: str, arch: str) -> frozenset[tuple[str, str]]:
    """The packages of the repository for one release and architecture, as (name, version).

    Raises:
        ArtifactError: the repository, its keyring, or cros-guest-tools in it, is missing.
    """
    hint = "run the job that makes it: ./run invoke apt-signer"
    index = guest.packages_index(repository, release, arch)
    for path in (repository, guest.keyring_of(repository), repository / "dists" / release / "InRelease", index):
        if not path.exists():
            raise ArtifactError(f"artifact {path.relative_to(repository.parent).as_posix()!r} is missing", hint=hint)
    with index.open() as file:
        found = frozenset(
            (paragraph["Package"], paragraph["Version"])
            for paragraph in Deb822.iter_paragraphs(file, use_apt_pkg=False)
        )
    if all(package != guest.GUEST_TOOLS for package, _ in found):
        raise ArtifactError(
            f"artifact {index.relative_to(repository.parent).as_posix()!r} has no package {guest.GUEST_TOOLS!r}",
            hint="./run invoke guest-tools, then ./run invoke apt-repo and apt-signer",
        )
    return found


def prepare_for(arch: str) -> None:
    """Make sure that programs of `arch` run here, through qemu-user where they are foreign.

    Raises:
        ToolMissingError: they do not.
    """
    if arch == native_arch() or _runs(arch):
        return
    handler = _QEMU.get(arch)
    if handler and not (BINFMT / "register").exists():
        tools.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
    if handler:
        tools.run(["update-binfmts", "--enable", handler])
    if not _runs(arch):
        raise ToolMissingError(
            f"this machine cannot run programs of {arch!r}",
            hint="apt-get install qemu-user-static binfmt-support, or build on a machine of that architecture",
        )


def _runs(arch: str) -> bool:
    return tools.capture(["arch-test", arch], ok=(0, 1)).strip() == f"{arch}: ok"
