"""The process that runs programs in a container, here outside of any."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import tools
from lxd import inside

pytestmark = pytest.mark.root  # as it changes the user


def answers(*requests: dict[str, Any], timeout: float = 30) -> dict[int, dict[str, Any]]:
    """What it answers, by number."""
    lines = "".join(json.dumps({"environment": {"PATH": os.defpath}, "uid": 0, **each}) + "\n" for each in requests)
    argv: list[tools.Arg] = [sys.executable, "-I", "-S", "-c", Path(inside.__file__).read_text()]
    said = tools.capture(argv, stdin=lines, timeout=timeout).splitlines()
    return {answer.pop("number"): answer for answer in map(json.loads, said)}


def test_how_programs_end() -> None:
    found = answers(
        {"number": 1, "argv": ["sh", "-c", "echo out; echo err >&2; exit 3"]},
        {"number": 2, "argv": ["sh", "-c", "kill -KILL $$"]},
        {"number": 3, "argv": ["no-such-program"]},
        {"number": 4, "argv": ["printf", r"\377"]},
        {"number": 5, "argv": ["cat"]},
        {"number": 6, "argv": ["/etc/os-release"]},
    )
    assert found[1] == {"exit_code": 3, "out": "out\n", "err": "err\n"}
    assert found[2] == {"exit_code": 137, "out": "", "err": ""}
    assert found[3]["exit_code"] == 127
    assert "no-such-program" in found[3]["err"]
    assert found[6]["exit_code"] == 126
    assert found[4]["out"] == "\N{REPLACEMENT CHARACTER}"
    assert found[5] == {"exit_code": 0, "out": "", "err": ""}, "its input is empty, and not ours"


def test_user_environment_and_place() -> None:
    [answer] = answers(
        {
            "number": 1,
            "argv": ["sh", "-c", "id -u; id -G; pwd; env | grep -v ^PWD="],
            "uid": 1234,
            "environment": {"PATH": os.defpath, "A": "b c"},
        }
    ).values()
    assert answer["out"].split("\n")[:3] == ["1234", "1234", "/"]
    assert sorted(answer["out"].splitlines()[3:]) == ["A=b c", f"PATH={os.defpath}"]


def test_they_run_at_once_and_what_they_leave_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = answers(
        {"number": 1, "argv": ["sh", "-c", f"read word <{pipe}; echo $word"]},
        {"number": 2, "argv": ["sh", "-c", f"echo met >{pipe}"]},
        {"number": 3, "argv": ["sh", "-c", "sleep 60 & echo $!"]},
        timeout=20,
    )
    assert found[1]["out"] == "met\n"
    tools.run(["kill", found[3]["out"].strip()], quiet=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4))
def test_arguments_arrive_as_they_are(words: list[str]) -> None:
    [answer] = answers({"number": 7, "argv": ["printf", r"%s\n", *words]}).values()
    assert answer["out"] == "".join(f"{word}\n" for word in words)
