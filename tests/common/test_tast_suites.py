"""tast.toml: the suites of the tree, and every way to write one wrongly."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError, UsageError
from common.tast_suites import Source, find_suite, load, problem_of

GOOD = """
[suites.pfq]
expression = '("group:mainline" && !informational)'
container = "staging"
vm = "staging"
gates = true
required = ["crostini.Basic*"]
deadline_mins = 60
"""


def written(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in GOOD
    path = folder / "tast.toml"
    path.write_text(GOOD.replace(old, new, 1) if old else GOOD)
    return path


def test_the_suites_the_seed_asks_for() -> None:
    suites = load()
    assert list(suites) == ["bvt-cq", "pfq"]
    assert (suites["bvt-cq"].container, suites["bvt-cq"].vm) == (Source.LIVE, Source.LIVE)
    assert (suites["pfq"].container, suites["pfq"].vm) == (Source.STAGING, Source.STAGING)
    assert [suite.name for suite in suites.values() if suite.gates] == ["pfq"]


def test_patterns_are_one_expression_or_words(tmp_path: Path) -> None:
    assert load(written(tmp_path))["pfq"].patterns == ['("group:mainline" && !informational)']
    path = written(tmp_path, """'("group:mainline" && !informational)'""", "'crostini.* vm.Crostini*'")
    assert load(path)["pfq"].patterns == ["crostini.*", "vm.Crostini*"]


def test_a_suite_by_name(tmp_path: Path) -> None:
    assert find_suite("pfq", written(tmp_path)).deadline_mins == 60
    with pytest.raises(UsageError, match="unknown suite 'pfg'") as caught:
        find_suite("pfg", written(tmp_path))
    assert caught.value.hint.startswith("did you mean 'pfq'?")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("container", "contaner", r"suites pfq: unknown key 'contaner'"),
        ('container = "staging"', "", r"suites pfq: 'container' is missing"),
        ('container = "staging"', 'container = "production"', r"suites pfq: unknown container 'production'"),
        ('vm = "staging"', "vm = 1", r"suites pfq: unknown vm 1"),
        ("gates = true", 'gates = "yes"', r"suites pfq: gates is 'yes', not true or false"),
        ("gates = true", "", r"suites pfq: 'gates' is missing"),
        ("deadline_mins = 60", "deadline_mins = 0", r"suites pfq: deadline_mins is 0, not a number above 0"),
        ('["crostini.Basic*"]', '"crostini.Basic"', r"suites pfq: required is 'crostini.Basic', not a list"),
        ('["crostini.Basic*"]', '["crostini Basic"]', r"suites pfq: required has 'crostini Basic'"),
        ("informational)'", "informational'", r"suites pfq: expression is .*Tast does not take: it does not end"),
        ("&&", "&", r"suites pfq: expression is .*'& !informational\)' is no part of one"),
        ("""'("group:mainline" && !informational)'""", '""', r"suites pfq: expression is '', not a text"),
        ("[suites.pfq]", "[suite.pfq]", r"tast\.toml: unknown key 'suite'"),
    ],
)  # fmt: skip
def test_a_bad_file_names_suite_key_and_value(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(written(tmp_path, old, new))
    assert caught.value.hint


def test_a_file_without_suites(tmp_path: Path) -> None:
    (tmp_path / "tast.toml").write_text("")
    with pytest.raises(ConfigError, match="lists no suite"):
        load(tmp_path / "tast.toml")


@pytest.mark.parametrize(
    "expression",
    [
        '("group:mainline")', "(informational)", '(!!"a b" || (x && !y))', '("name:crostini.*"&&dep_x)', "crostini.*",
        "vm.Crostini* crostini.Basic.bookworm_stable", '("a") && ("b")',
    ],
)  # fmt: skip
def test_expressions_that_tast_takes(expression: str) -> None:
    assert problem_of(expression) == ""


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("()", "')' stands where an attribute should"), ("(a", "does not end"), ("(a))", "')' is left over"),
        ("(a b)", "not closed"), ("(a &&)", "')' stands"), ("((a)", "not closed"), ("(group:mainline)", "no part"),
        ("(1)", "no part"), ("('a')", "no part"), ("   ", "it is empty"), ("-build=false", "is no pattern"),
        ("a;b", "is no pattern"), ('("a" !"b")', "not closed"), ("(!)", "')' stands"),
    ],
)  # fmt: skip
def test_expressions_that_tast_refuses(expression: str, said: str) -> None:
    assert said in problem_of(expression)


EXPRESSIONS = st.recursive(
    st.sampled_from(["informational", '"group:mainline"', '"name:crostini.*"']),
    lambda inner: st.one_of(
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"({one})"),
        st.tuples(inner, st.sampled_from(["&&", " || "]), inner).map("".join),
    ),
)


@given(EXPRESSIONS)
def test_whatever_the_grammar_makes_is_taken(expression: str) -> None:
    assert problem_of(f"({expression})") == ""


@given(st.text(alphabet='()&|!"ab :*.', max_size=20))
def test_any_text_is_taken_or_refused(text: str) -> None:
    problem = problem_of(text)
    if text.startswith("(") and not problem:
        assert text.count("(") == text.count(")") or '"' in text
