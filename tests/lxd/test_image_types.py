"""The image types: which there are, and what the layers of a release hold."""

import pytest

from common.branches import IMAGE_TYPES, RELEASES
from lxd.image_types import layers


@pytest.mark.parametrize("release", RELEASES)
def test_there_is_a_layer_for_each_type(release: str) -> None:
    assert tuple(layer.type for layer in layers(release, [])) == IMAGE_TYPES


def test_no_package_is_in_two_layers() -> None:
    names = [name for layer in layers("bookworm", [("glbench", "1")]) for name in (*layer.packages, *layer.non_free)]
    assert len(names) == len(set(names))


def test_glbench_is_installed_where_the_repository_has_it() -> None:
    packages = {layer.type: layer.packages for layer in layers("bookworm", [("glbench", "1")])}
    assert [kind for kind, names in packages.items() if "glbench" in names] == ["test"]
    assert all("glbench" not in layer.packages for layer in layers("bookworm", [("cros-garcon", "1")]))
