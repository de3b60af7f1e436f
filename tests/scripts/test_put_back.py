"""What a rollback puts back, by the ledger alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UsageError
from common.ledger import Action, Entry, Line
from scripts.rollback import before_live, put_back


def ledger(*changes: str) -> list[Line]:
    """Lines of changes: `+a` is a promotion that shows as a, `-a` a rollback to it that shows as the same again."""
    lines: list[Line] = []
    for number, change in enumerate(changes, 1):
        action = Action.PROMOTE if change[0] == "+" else Action.ROLLBACK
        before = lines[-1].entry.after if lines else ""
        lines.append(Line(Entry(action=action, who="me", source=change[1:] if change[0] == "-" else "staging",
                                before=before, after=change[1:], number=number), b"", ""))  # fmt: skip
    return lines


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (["+a", "+b"], "a"),
        (["+a", "+b", "+c", "-b"], "a"),
        (["+a", "+b", "+c", "-a", "+d"], "a"),
        (["+a", "+b", "-a", "+b", "-b"], "a"),
        (["+a", "+b", "-a", "+b", "-a", "-b"], "a"),
    ],
)
def test_what_was_live_before(changes: list[str], wanted: str) -> None:
    assert before_live(ledger(*changes)) == wanted


@pytest.mark.parametrize("changes", [["+a"], ["+a", "+b", "-a"], ["+a", "+b", "-a", "+b", "-a"]])
def test_nothing_was(changes: list[str]) -> None:
    """Also where the first one has come back twice."""
    with pytest.raises(UsageError, match="nothing was live before"):
        before_live(ledger(*changes))


def test_what_has_to_be_there_for_it() -> None:
    assert dict(put_back(ledger("+a", "+b", "+c", "-b"))) == {
        "b": "live by the ledger", "c": "live before the last change", "a": "what a rollback puts back",
    }  # fmt: skip
    assert list(put_back([])) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_every_ledger_has_an_answer(history: list[tuple[bool, int]]) -> None:
    changes: list[str] = []
    for forwards, which in history:
        seen = list(dict.fromkeys(change[1:] for change in changes))
        changes.append(f"-{seen[which % len(seen)]}" if seen and not forwards else f"+{which}")
    lines = ledger(*changes)
    found = [name for name, _why in put_back(lines)]
    assert found[0] == lines[-1].entry.after
    assert set(found) <= {line.entry.after for line in lines}
