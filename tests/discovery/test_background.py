"""Background knowledge: what it rules out, and every way of getting it wrong."""

from __future__ import annotations

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.discovery.background import Background

NAMES = ("A", "C", "M", "Y")


def test_nothing_known_allows_every_edge():
    rules = Background().rules(NAMES)
    np.testing.assert_array_equal(rules.allowed, ~np.eye(4, dtype=bool))
    assert not rules.required.any()


def test_tiers_forbid_edges_back_in_time():
    allowed = Background(tiers=[["C"], ["A", "M"], ["Y"]]).rules(NAMES).allowed
    found = {(NAMES[j], NAMES[i]) for j, i in np.argwhere(allowed)}
    assert found == {("C", "A"), ("C", "M"), ("C", "Y"), ("A", "M"), ("M", "A"), ("A", "Y"), ("M", "Y")}


def test_required_edges_rule_out_what_would_close_a_cycle():
    allowed = Background(required=[("A", "M"), ("M", "Y")]).rules(NAMES).allowed
    position = NAMES.index
    assert not allowed[position("Y"), position("A")]
    assert not allowed[position("M"), position("A")]
    assert allowed[position("A"), position("Y")]


@pytest.mark.parametrize(
    ("knowledge", "words"),
    [
        ({"tiers": [["A", "C"], ["Y"]]}, r"leaves out \['M'\]"),
        ({"tiers": [["A", "C", "M"], ["Y", "Z"]]}, "names 'Z', which is not a column"),
        ({"tiers": [["A", "C", "M"], ["Y", "C"]]}, "names 'C' twice, in tier 1 and in tier 2"),
        ({"tiers": [["A", "A", "C", "M"], ["Y"]]}, "names 'A' twice"),
        ({"tiers": ["A", "C", "M", "Y"]}, "list of lists"),
        ({"required": [("A", "M"), ("M", "Y"), ("Y", "A")]}, "form a cycle, .* -> .* -> .* -> .*Leave one"),
        ({"required": [("A", "M")], "forbidden": [("A", "M")]}, "`required` names the edge 'A' -> 'M', which"),
        ({"required": [("Y", "C")], "tiers": [["C"], ["A", "M"], ["Y"]]}, "`required` names the edge 'Y' -> 'C'"),
        ({"required": [("A", "Z")]}, "`required` names 'Z'"),
        ({"forbidden": [("Z", "A")]}, "`forbidden` names 'Z'"),
        ({"forbidden": ["AB"]}, r"pairs \(cause, effect\)"),
        ({"forbidden": [("A", "A")]}, "to itself"),
        ({"required": [("A", "Y"), ("M", "Y")], "max_parents": 1}, "'Y' 2 parents, more than `max_parents`=1"),
        ({"max_parents": -1}, "`max_parents` must be a whole number"),
    ],
)
def test_wrong_knowledge_is_refused(knowledge, words):
    with pytest.raises(InputError, match=words):
        Background(**knowledge).rules(NAMES)
