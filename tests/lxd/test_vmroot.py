"""What an emulated machine starts from: its modules in an order that works."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import NotRootError
from lxd.vmroot import load_order, put, vm_root

DEPENDENCIES = """\
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_mmio.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
"""


def test_modules_come_after_what_they_need_and_once() -> None:
    order = load_order(DEPENDENCIES, ["virtio_mmio.ko", "virtio_blk.ko"])
    assert [Path(name).stem for name in order] == ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk"]


@given(st.data())
def test_that_is_so_for_any_modules(data: st.DataObject) -> None:
    names = [f"kernel/{number}.ko" for number in range(data.draw(st.integers(1, 8)))]
    needs: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        chosen = data.draw(st.sets(st.sampled_from(names[:number]))) if number else set()
        whole = chosen.union(*(needs[other] for other in chosen))
        needs[name] = sorted(whole, key=names.index, reverse=True)
    text = "".join(f"{name}: {' '.join(others)}\n" for name, others in needs.items())
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1))
    order = load_order(text, [Path(name).name for name in wanted])
    assert len(order) == len(set(order))
    assert set(order) == {module for name in wanted for module in (name, *needs[name])}
    assert all(order.index(other) < order.index(name) for name in order for other in needs[name])


def test_only_root_makes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotRootError, match="by root only"):
        vm_root("arm64", tmp_path)


def test_of_two_at_once_the_first_has_made_it(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "disk").write_text(name)
        put(tmp_path / name, tmp_path / "place")
    assert (tmp_path / "place" / "disk").read_text() == "first"


def test_what_cannot_be_put_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "made", tmp_path / "nowhere" / "place")
