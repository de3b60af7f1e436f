"""What the tests of Tast's results share: a result directory as Tast writes it, suites, and a snapshot."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.evidence import NOTE, Note, Snapshot
from common.external import Pin, Pins
from common.shown import Object
from common.tast_results import RESULTS, STREAMED
from common.tast_suites import Source, Suite

CREATED = dt.datetime(2026, 11, 26, 9, 0, tzinfo=dt.UTC)
NOW = CREATED + dt.timedelta(hours=3, microseconds=7)
NEVER = "0001-01-01T00:00:00Z"
ID = "ab" * 32
FILE = "crostini_test_container_metadata_bookworm_amd64.tar.xz.external"
PINS: Pins = {FILE: Pin(url="gs://cros-containers-staging/72/images/x/lxd.tar.xz", size=684, sha256="0" * 64)}
PFQ = Suite(
    name="pfq", expression='("name:crostini.*")', container=Source.STAGING, vm=Source.STAGING, gates=True,
    required=("crostini.Basic*",), deadline_mins=10,
)  # fmt: skip
SNAPSHOT = Snapshot(id=ID, milestone=72, created=CREATED, objects={"pool/x": Object(size=1, sha256="0" * 64)})


def record(name: str = "crostini.Basic", *, minute: int = 60, **changes: object) -> dict[str, object]:
    """One test as Tast writes it, that began so many minutes after the snapshot."""
    start = CREATED + dt.timedelta(minutes=minute)
    end = start + dt.timedelta(minutes=1)
    return {
        "name": name, "pkg": "chromiumos/tast/local/bundles/cros/crostini", "desc": "Tests basic Crostini startup",
        "contacts": ["somebody@chromium.org"], "attr": ["group:mainline"], "data": None, "timeout": 420000000000,
        "errors": None, "start": start.isoformat().replace("+00:00", ".123456789Z"),
        "end": end.isoformat().replace("+00:00", "-00:00"), "outDir": f"/tmp/x/tests/{name}", "skipReason": "",
        **changes,
    }  # fmt: skip


def error(reason: str = "Failed to start\nstack") -> dict[str, object]:
    """An error as Tast writes it."""
    return {"time": "2026-11-26T10:00:30Z", "reason": reason, "file": "basic.go", "line": 42, "stack": "..."}


def leave(folder: Path, records: Sequence[Mapping[str, object]] | None, *, streamed: bool = True) -> Path:
    """Write a result directory: of a whole run, or with None for results.json only what was streamed."""
    folder.mkdir(parents=True, exist_ok=True)
    tests = [record()] if records is None else records
    if records is not None:
        (folder / RESULTS).write_text(json.dumps(records, indent=2))
    if streamed:
        (folder / STREAMED).write_text("".join(json.dumps(test) + "\n" for test in tests))
    return folder


def note(folder: Path, **changes: object) -> Note:
    """Write the note that `invoke tast-run` would have."""
    usual: dict[str, object] = {"snapshot": ID, "suite": "pfq", "host": "dut1", "pins": PINS}
    made = Note(**{**usual, **changes})  # type: ignore[arg-type]
    (folder / NOTE).write_bytes(made.write())
    return made
