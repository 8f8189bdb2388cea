import html.parser
import re
import textwrap

import numpy as np
import pandas as pd
import pytest

from causalif.results.estimate import Estimate
from causalif.results.report import Table, number_format, p_format, plain, split_sd

NASTY = r"<b>&\50%_x$|#{}~^*`"


@pytest.fixture
def fit():
    psi = np.outer(np.tile([1.0, -1.0], 5000), [131_020.0, 5.178])
    splits = pd.DataFrame(
        {"repeat": [0, 0, 1, 1], "term": ["ATE", "share"] * 2, "estimate": [8000.0, 0.1, 8246.9, 0.2], "std_error": 1.0}
    )
    settings = {
        "estimator": "Average treatment effect",
        "outcome": "nettfa",
        "treatment": "p401k",
        "adjust": ["inc", "age", "fsize", "marr", "male"],
        "folds": 5,
        "se_source": "influence function",
        "levels": (1, 0),
        "notes": ["The reference level of p401k is 0."],
        "warnings": ["37 of 9,275 rows clipped at 0.01."],
    }
    index = pd.RangeIndex(10_000)
    return Estimate([8123.44, 0.0747], psi, ["ATE", "share"], index, settings=settings, splits=splits)


GOLDEN = """\
                           Average treatment effect
==============================================================================
Outcome:      nettfa                         Rows:         10,000
Treatment:    p401k                          Folds:        5
Levels:       1, 0                           Repeats:      2
Adjusted for: inc, age, fsize, marr, male    Std errors:   influence function
==============================================================================
       estimate  std error  split sd  statistic  p value   95% low  95% high
------------------------------------------------------------------------------
ATE     8,123.4    1,310.2     174.6      6.200  <0.0001   5,555.5  10,691.4
share   0.07470    0.05178   0.07071      1.443   0.1491  -0.02679   0.17619
==============================================================================
P-values test that each term is 0, two-sided, by the normal law.
Split sd is the standard deviation over repeated sample splits; std errors
  include it (median rule).
The reference level of p401k is 0.
Warning: 37 of 9,275 rows clipped at 0.01."""


def test_summary_text(fit):
    """Std errors are 131,020 / 100 and 5.178 / 100; 8123.44 -+ 1.959964 * 1310.2 = 5555.5, 10691.4."""
    assert str(fit.summary()) == GOLDEN


def test_summary_of_exact_numbers():
    """A summary whose every character can be worked out by hand."""
    e = Estimate([2.0], [[1.0], [-1.0], [1.0], [-1.0]], ["ATE"], pd.RangeIndex(4))
    assert str(e.summary()) == textwrap.dedent(
        """\
                                           Estimate
        ==============================================================================
        Rows:       4    Std errors: influence function
        ==============================================================================
             estimate  std error  statistic  p value  95% low  95% high
        ------------------------------------------------------------------------------
        ATE    2.0000     0.5000      4.000  <0.0001   1.0200    2.9800
        ==============================================================================
        P-values test that each term is 0, two-sided, by the normal law."""
    )


def test_columns_are_aligned_and_lines_short(fit):
    long = Estimate(
        [1.3e-201, 4e12, 1.0],
        fit.influence_values[:, [0, 0, 1]] * [1e-207, 1e6, 1.0],
        ["tiny", "huge", "a label so long that it has to be continued on a second line of the table"],
        fit.index,
        np.arange(10_000) % 29,
        settings={"adjust": [f"covariate_{i}" for i in range(60)], "a_new_key": {"x": 0.5, "y": None}},
    )
    for table in (fit.summary(), fit.summary(joint=True), long.summary(0.999), long.summary(joint=True)):
        lines = str(table).splitlines()
        assert max(map(len, lines)) <= 120
        rules = [i for i, line in enumerate(lines) if set(line) in ({"="}, {"-"})]
        body = [line for line in lines[rules[-2] - 1 : rules[-1]] if re.search(r"\d$|high$", line)]
        ends = [[m.end() for m in re.finditer(r"\S+", line)] for line in body]
        assert len({row[-1] for row in ends}) == 1
    text = str(long.summary())
    assert "and 48 more" in text
    assert re.search(r"A new key: +x: 0\.5, y: none", text)
    assert "Student's t with 28 degrees of freedom" in text
    assert "1.300e-201" in text
    assert "4.000e+12" in text


@pytest.mark.parametrize(
    ("value", "se", "text"),
    [
        (8123.44, 1310.2, "8,123.4"),
        (0.0747, 0.0035, "0.07470"),
        (2.5596, 0.6, "2.5596"),
        (1.3e-201, 1e-202, "1.300e-201"),
        (1e9, 1e8, "1.000e+09"),
        (1_234_567.0, 1.0, "1,234,567.00"),
        (-0.00001, 0.1, "0.0000"),
        (0.0, 0.0, "0.0000"),
        (np.nan, 1.0, "n/a"),
        (0.5, 1e-30, "5.000e-01"),
    ],
)
def test_numbers_are_readable(value, se, text):
    assert number_format(value if np.isfinite(value) else 1.0, se)(value) == text


def test_p_values():
    assert [p_format(p) for p in (0.04999, 1e-5, 1.0, np.nan)] == ["0.0500", "<0.0001", "1.0000", "n/a"]


def test_settings_are_written_plainly():
    assert plain(True) == "yes"
    assert plain(np.int64(9275)) == "9,275"
    assert plain({"b", "a"}) == "a, b"
    assert plain([]) == "none"
    assert plain({"outcome": "lasso"}) == "outcome: lasso"
    assert plain(None) == "none"


def nasty():
    settings = {"estimator": NASTY, "outcome": NASTY, "notes": NASTY}
    return Estimate([-1.5], [[1.0], [-1.0]], [NASTY], pd.RangeIndex(2), settings=settings)


def test_html_is_escaped_and_balanced():
    class Balanced(html.parser.HTMLParser):
        stack, text = [], ""

        def handle_starttag(self, tag, attrs):
            self.stack.append(tag)

        def handle_endtag(self, tag):
            assert self.stack.pop() == tag

        def handle_data(self, data):
            self.text += data

    source = nasty()._repr_html_()
    assert "<b>" not in source
    parser = Balanced()
    parser.feed(source)
    assert parser.stack == []
    assert parser.text.count(NASTY) == 4
    assert nasty().summary()._repr_html_() == source


def test_latex_is_escaped():
    source = nasty().to_latex()
    body = [line for line in source.splitlines() if not line.startswith("%")]
    escaped = (
        r"\textless{}b\textgreater{}\&\textbackslash{}50\%\_x\$\textbar{}\#\{\}\textasciitilde{}\textasciicircum{}*`"
    )
    assert body[4].startswith(f"{escaped} & $-$1.5000 & 0.7071 & $-$2.121 & ")
    assert sum(line.count(escaped) for line in body) == 2
    assert re.search(r"^\\begin{tabular}{lrrrrrr}$", source, re.MULTILINE)
    assert all(line.startswith("% ") for line in source.splitlines() if NASTY in line)
    assert Table("", (), ("", "x"), (("[a]", "1"),), ()).to_latex().splitlines()[5].startswith("{[}a]")


def test_markdown_has_one_cell_per_column():
    source = nasty().to_markdown()
    rows = [line for line in source.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert {len(row) for row in rows} == {len(rows[0])}
    assert r"\<b>&\\50%\_x$\|#{}~^\*\`" in source
    assert r"E[Y\](1)" in Table("E[Y](1)", (), ("", "x"), (("a", "1"),), ()).to_markdown()


def test_line_breaks_in_labels_do_not_break_tables():
    e = Estimate([1.0], [[1.0], [-1.0]], ["two\nlines"], pd.RangeIndex(2))
    for source in (str(e.summary()), e.to_latex(), e.to_markdown(), e._repr_html_()):
        assert "two lines" in source


def test_split_sd_needs_repeats(fit):
    assert split_sd(None).empty
    assert "split sd" not in str((fit - 1.0).summary())
    assert "split sd" in str(fit["share"].summary())


def test_notes_may_be_one_sentence():
    text = str(nasty().summary())
    assert text.splitlines()[-1] == NASTY


def test_a_ratio_says_what_its_p_value_tests():
    means = Estimate([4.0, 2.0], [[1.0, 0.5], [-1.0, -0.5], [0.0, 1.0], [0.0, -1.0]], ["a", "b"], pd.RangeIndex(4))
    advice = "Where no difference means a ratio of 1, test that instead"
    for ratio in (means["a"] / means["b"], (means["a"].log() - means["b"].log()).exp(), 2 / means["a"]):
        assert advice in " ".join(str(ratio.summary()).split())
    for other in (means, means / 1000, (means["a"] / means["b"]).log(), means["a"] / means["b"] - 1):
        assert advice not in " ".join(str(other.summary()).split())
    ratio = means["a"] / means["b"]
    assert ratio.test("a / b", null=1).p_value == pytest.approx((ratio - 1).pvalues.item())
