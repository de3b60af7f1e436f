"""The packages of an image: packages.tsv, and packages.cdx.json, the CycloneDX 1.6 bill that scanners read."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from common.files import write_atomically
from lxd.apps import App
from lxd.contents import FILE as TABLE
from lxd.contents import Package, write_table
from lxd.metadata import ImageName

FILE = "packages.cdx.json"
# What /etc/os-release calls the releases: scanners choose their list of known vulnerabilities by it.
_NUMBERS = {"bullseye": "11", "bookworm": "12", "trixie": "13"}
# The namespace of our serial numbers, a UUID made up once; they are derived from what the image contains.
_SERIALS = uuid.UUID("6f3c4f0e-5f0b-4f43-9d52-2f2f7e0a4c19")


def write_lists(
    out: Path, name: ImageName, packages: Sequence[Package], *, milestone: int, epoch: int, apps: Sequence[App] = ()
) -> None:
    """Write packages.tsv and packages.cdx.json into the folder `out`; for the arguments see `bill_of_materials`."""
    bill = bill_of_materials(name, packages, milestone=milestone, epoch=epoch, apps=apps)
    write_atomically(out / TABLE, write_table(packages))
    write_atomically(out / FILE, bill)


def bill_of_materials(
    name: ImageName, packages: Iterable[Package], *, milestone: int, epoch: int, apps: Sequence[App] = ()
) -> str:
    """The text of packages.cdx.json; the same image gives the same text.

    Every package has a purl (pkg:deb/debian/..., or pkg:deb/google/... for ours) with its architecture, its release and
    the source package it was built from; every third-party application the URL and SHA-256 it was fetched by.

    Args:
        name: which image.
        packages: what is installed in it.
        milestone: of Chrome OS.
        epoch: seconds since 1970; the bill's time.
        apps: the third-party applications in it.
    """
    image = Component(
        type=ComponentType.CONTAINER,
        name=f"debian/{name.release}/{name.type}",
        version=str(milestone),
        bom_ref=name.product,
        properties=[Property(name="cros:architecture", value=name.arch)],
    )
    system = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name="debian",
        version=_NUMBERS.get(name.release, name.release),
        bom_ref=f"debian:{name.release}",
    )
    parts = [system, *(_package(each, name.release) for each in packages), *(_app(app) for app in apps)]
    said = "\n".join([name.product, str(milestone), str(epoch), *(str(part.bom_ref.value) for part in parts)])
    bom = Bom(
        components=parts,
        serial_number=uuid.uuid5(_SERIALS, said),
        metadata=BomMetaData(component=image, timestamp=dt.datetime.fromtimestamp(epoch, dt.UTC)),
        dependencies=[
            Dependency(ref=image.bom_ref, dependencies=[Dependency(ref=part.bom_ref) for part in parts]),
            *(Dependency(ref=part.bom_ref) for part in parts),
        ],
    )
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _package(package: Package, release: str) -> Component:
    upstream = (
        package.source if package.source_version == package.version else f"{package.source}@{package.source_version}"
    )
    purl = PackageURL(
        type="deb",
        namespace=package.origin.lower(),
        name=package.name,
        version=package.version,
        qualifiers={
            "arch": package.arch,
            "distro": release,
            **({"upstream": upstream} if upstream != package.name else {}),
        },
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        bom_ref=purl.to_string(),
        purl=purl,
        supplier=OrganizationalEntity(name=package.origin),
        properties=[
            Property(name="cros:source", value=package.source),
            Property(name="cros:source-version", value=package.source_version),
        ],
    )


def _app(app: App) -> Component:
    return Component(
        type=ComponentType.APPLICATION,
        name=app.name,
        version=app.version,
        bom_ref=f"app:{app.key}@{app.version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=app.sha256)],
        external_references=[ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(app.url))],
    )
