"""Every public name says what it takes, gives back and raises, and shows it in an example that runs."""

from __future__ import annotations

import ast
import builtins
import contextlib
import doctest
import importlib
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import causalif
from causalif import errors
from causalif.testing import selfcheck

HERE, ROOT = Path(__file__).resolve(), Path(causalif.__file__).parent
MODULES = ("datasets", "errors", "graphs", "influence", "kernels", "testing", "valuation")
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "Notes", "References", "Examples")


# --- reading a docstring --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """One entry of a section: its names, what stands behind the colon, and its text."""

    names: tuple[str, ...]
    kind: str
    text: str


@dataclass(frozen=True)
class Doc:
    """A docstring in parts."""

    lead: str
    sections: dict[str, str]

    @property
    def summary(self) -> str:
        return " ".join(self.lead.split("\n\n", maxsplit=1)[0].split())

    def fields(self, name: str) -> list[Field]:
        entries = re.split(r"\n(?=\S)", self.sections.get(name, ""))
        return [_field(entry) for entry in entries if entry.strip()]


def _field(entry: str) -> Field:
    head, _, text = entry.partition("\n")
    names, _, kind = head.partition(" : ")
    return Field(tuple(name.strip().lstrip("*") for name in names.split(",")), kind.strip(), " ".join(text.split()))


def parse(text: str | None) -> Doc:
    """Split a docstring at its underlined headings."""
    cut = re.split(rf"^({'|'.join(SECTIONS)})\n-+\n", inspect.cleandoc(text or "") + "\n", flags=re.MULTILINE)
    return Doc(cut[0].strip(), {name: body.strip("\n") for name, body in zip(cut[1::2], cut[2::2], strict=True)})


# --- the public names ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A public function, class, method or property; `owner` is the class of the last two."""

    name: str
    value: Any
    owner: type | None = None

    @property
    def is_class(self) -> bool:
        return inspect.isclass(self.value)

    @property
    def is_property(self) -> bool:
        return isinstance(self.value, property | cached_property)

    @property
    def code(self) -> Any:
        """The function behind it."""
        value = self.value
        if isinstance(value, property):
            return value.fget
        if isinstance(value, cached_property):
            return value.func
        return getattr(value, "__func__", value)

    @property
    def value_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def module(self) -> str:
        return self.code.__module__

    @property
    def doc(self) -> Doc:
        return parse(self.value.__doc__)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        plain = self.is_class and issubclass(self.value, Exception) and not _inside(self.value.__init__)
        if self.is_property or plain:
            return {}
        bound = self.owner is not None and not isinstance(self.value, staticmethod)
        taken = dict(inspect.signature(self.code).parameters)
        return dict(list(taken.items())[1:]) if bound else taken

    @property
    def returned(self) -> str:
        """What the annotation of the return value says."""
        return "" if self.is_class else str(self.code.__annotations__.get("return", ""))


def _inside(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).split(".")[0] == "causalif"


@cache
def listed() -> dict[int, Entry]:
    """What the front doors name."""
    found: dict[int, Entry] = {}
    for door in (causalif, *(importlib.import_module(f"causalif.{name}") for name in MODULES)):
        for name in door.__all__:
            value = _get(door, name)
            if _inside(value) and (inspect.isclass(value) or inspect.isroutine(value)):
                found.setdefault(id(value), Entry(name, value))
    return found


def _get(door: Any, name: str) -> Any:
    try:
        return getattr(door, name)
    except ModuleNotFoundError as missing:
        if missing.name in {"torch", "pyro"}:  # FlowSEM, where its extra is not installed
            return None
        raise


@cache
def entries() -> tuple[Entry, ...]:
    """Listed names, every class that they return, and the methods and properties of all those classes."""
    waiting, found = [*listed().values(), *ALSO], dict[tuple[str, str], Entry]()
    while waiting:
        entry = waiting.pop()
        key = (entry.module, entry.code.__qualname__)
        if key not in found:
            found[key] = entry
            waiting += [*_members(entry), *_returned(entry)]
    return tuple(found[key] for key in sorted(found))


def _members(entry: Entry) -> Iterator[Entry]:
    for owner in filter(_inside, entry.value.__mro__ if entry.is_class else ()):
        for name, value in vars(owner).items():
            kinds = property | cached_property | staticmethod | classmethod
            if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds)):
                yield Entry(f"{owner.__name__}.{name}", value, owner)


def _returned(entry: Entry) -> Iterator[Entry]:
    for dotted in re.findall(r"[A-Za-z_][\w.]*", entry.returned):
        value: Any = None
        for part in dotted.split("."):
            value = vars(sys.modules[entry.module]).get(part) if value is None else getattr(value, part, None)
        if inspect.isclass(value) and _inside(value) and not value.__name__.startswith("_"):
            yield Entry(value.__name__, value)


# Classes that users meet as a part of a result, not as what a function returns.
ALSO = [Entry("Line", selfcheck.Line)]


# --- what each must say ---------------------------------------------------------------------------------------------


def _summary(entry: Entry) -> Iterator[str]:
    first = inspect.cleandoc(entry.value.__doc__ or "").partition("\n")[0]
    if not first.endswith(".") or first != entry.doc.summary or re.search(r"[.?] [A-Z]", first):
        yield f"the first line is not one sentence: {first!r}"


def _sections(entry: Entry) -> Iterator[str]:
    text = inspect.cleandoc(entry.value.__doc__ or "")
    headings = re.findall(r"^(\S.*)\n-{3,}$", text, flags=re.MULTILINE)
    if headings != [name for name in SECTIONS if name in headings]:
        yield f"headings unknown, repeated or out of order: {headings}"


def _inherited(entry: Entry) -> set[str]:
    """Parameters that a base class documents."""
    bases = entry.value.__mro__[1:] if entry.is_class else ()
    return {name for base in filter(_inside, bases) for name in Entry("", base).parameters}


def _parameters(entry: Entry) -> Iterator[str]:
    if entry.is_property or _overrides(entry):
        return
    fields = entry.doc.fields("Parameters")
    said = [name for field in fields for name in field.names]
    taken = {name: one for name, one in entry.parameters.items() if not name.startswith("_")}
    missing = [name for name in taken if name not in said and name not in _inherited(entry)]
    if missing:
        yield f"parameters without a word: {missing}"
    if said != [name for name in taken if name in said]:
        yield f"parameters absent from the signature, or in another order: {said}, not {list(taken)}"
    for field in fields:
        if not field.kind:
            yield f"parameter without a type: {field.names}"
        for name in field.names:
            if name in taken:
                yield from _default(field, taken[name])


def _default(field: Field, parameter: inspect.Parameter) -> Iterator[str]:
    if parameter.default is inspect.Parameter.empty:
        return
    found = re.search(r"(?<![Bb]y )\b[Dd]efault (\S+)", f"{field.kind}; {field.text}")
    optional = parameter.default in (None, ()) or "factory" in repr(parameter.default)
    if not re.search("[Dd]efault", field.kind + field.text) and not (optional and "optional" in field.kind):
        yield f"the default of {parameter.name} is not stated: {parameter.default!r}"
    if found:
        with contextlib.suppress(ValueError, SyntaxError):
            stated = ast.literal_eval(found[1].rstrip(".,;:)"))
            if stated != parameter.default:
                yield f"the default of {parameter.name} is {parameter.default!r}, not {stated!r}"


def _overrides(entry: Entry) -> bool:
    """Whether a base class of the library documents a method of this name."""
    bases = entry.owner.__mro__[1:] if entry.owner else ()
    return any(hasattr(base, entry.value_name) for base in bases if _inside(base))


def _returns(entry: Entry) -> Iterator[str]:
    silent = entry.is_class or entry.is_property or _overrides(entry)
    if not silent and entry.returned not in {"", "None"} and not {"Returns", "Yields"} & set(entry.doc.sections):
        yield f"it does not say what it returns: {entry.returned}"


def _raises(entry: Entry) -> Iterator[str]:
    codes = [entry.code]
    if entry.is_class:
        codes = [vars(entry.value)[name] for name in ("__init__", "__post_init__") if name in vars(entry.value)]
    raised = {name for code in codes for name in _raised(code)}
    text = (entry.value.__doc__ or "") if entry.is_property else entry.doc.sections.get("Raises", "")
    yield from (f"it raises {name} and does not say when" for name in sorted(raised) if name not in text)
    said = [name for field in entry.doc.fields("Raises") for name in field.names]
    yield from (f"no such error: {name}" for name in said if not hasattr(errors, name) and not hasattr(builtins, name))


def _raised(code: Any) -> Iterator[str]:
    """Errors of the library in the `raise` statements of a function."""
    if inspect.isfunction(code) and code.__code__.co_filename.endswith(".py"):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code)))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func).rpartition(".")[2]
                if hasattr(errors, name):
                    yield name


def _examples(entry: Entry) -> Iterator[str]:
    text = entry.doc.sections.get("Examples", "")
    if ">>>" not in text and not _shown_elsewhere(entry):
        yield "no example"
    if "+SKIP" in text:
        yield "an example that does not run"


def _shown_elsewhere(entry: Entry) -> bool:
    """Whether the example of a class, or of whatever returns it, shows it; a kind of error is shown by its base."""
    if entry.is_class and issubclass(entry.value, Exception):
        return any(map(_inside, entry.value.__mro__[1:]))
    if entry.is_class:
        return entry.name not in {one.name for one in listed().values()} and entry.name in met()
    if entry.owner is None:
        return False
    family = [one.name for one in entries() if one.is_class and issubclass(one.value, entry.owner)]
    shown = any(f".{entry.value_name}(" in met().get(name, "") for name in family)
    return shown or not entry.parameters or entry.value_name in UNSHOWN or _overrides(entry)


@cache
def met() -> dict[str, str]:
    """The examples in which each class is met: its own, those of its methods, and those of whatever returns it."""
    found: dict[str, str] = {}
    for entry in entries():
        owners = [] if entry.owner is None else [entry.owner]
        docs = [entry.doc, *(parse(owner.__doc__) for owner in owners)]
        text = "".join(doc.sections.get("Examples", "") for doc in docs)
        names = [entry.name] if entry.is_class else re.findall(r"\w+", entry.returned)
        for name in {*names, *(owner.__name__ for owner in owners)}:
            found[name] = found.get(name, "") + text
    return {name: text for name, text in found.items() if ">>>" in text}


# Methods that need no example of their own.
UNSHOWN = {
    "plot": "text does not show a picture",
    "to_latex": "the summary in another notation",
    "to_markdown": "the summary in another notation",
    "of": "how SIGMA makes its result",
    **dict.fromkeys(
        ("input_fetcher", "input_metric", "input_model", "input_model_metric", "setup"),
        "opendataval calls them, with objects of its own",
    ),
}


def _references(entry: Entry) -> Iterator[str]:
    told = re.search(r"\b(1[89]|20)\d\d\b", entry.doc.sections.get("References", ""))
    if entry.is_class and ".estimators." in entry.module and hasattr(entry.value, "fit") and not told:
        yield "no reference for an estimator"


def _runs(entry: Entry) -> Iterator[str]:
    """Whether `pytest --doctest-modules` runs the examples: in a file that it collects, under a name that it finds."""
    if ">>>" in (entry.value.__doc__ or "") and not _collected(entry.module) & {entry.code.__qualname__}:
        yield "its examples are not collected"


@cache
def _collected(module: str) -> frozenset[str]:
    """Names in a module whose examples are run."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    flags = project["tool"]["pytest"]["ini_options"]["addopts"]
    path = Path(inspect.getfile(sys.modules[module])).relative_to(ROOT.parent)
    left_out = [flag.partition("=")[2] for flag in flags if flag.startswith("--ignore-glob=")]
    if "--doctest-modules" not in flags or any(fnmatch(str(path), glob) for glob in left_out):
        return frozenset()
    found = doctest.DocTestFinder(exclude_empty=True).find(sys.modules[module], module)
    return frozenset(test.name.removeprefix(module + ".") for test in found if test.examples)


RULES = [_summary, _sections, _parameters, _returns, _raises, _examples, _references, _runs]


def faults(rule: Callable[[Entry], Iterator[str]], entry: Entry) -> list[str]:
    return [f"{entry.module}.{entry.code.__qualname__}: {fault}" for fault in rule(entry)]


@pytest.mark.parametrize("rule", RULES)
def test_every_public_name(rule: Callable[[Entry], Iterator[str]]) -> None:
    found = [fault for entry in entries() for fault in faults(rule, entry)]
    assert not found, "\n".join(found)


# Estimands without a paper of their own, and not built from one estimand that has one.
PLAIN = {"Combination": "sums of other estimands", "OutcomeMean": "a mean"}


def test_every_estimand_has_a_reference() -> None:
    modules = [importlib.import_module(f"causalif.estimands.{path.stem}") for path in (ROOT / "estimands").glob("*.py")]
    values = [value for module in modules for value in vars(module).values() if hasattr(value, "eif")]
    own = [value for value in values if value.__module__.startswith("causalif.estimands.")]
    known = {value.__name__ for value in own if "References" in parse(value.__doc__).sections}
    assert len(known) > 10
    rest = {value.__name__: value.__doc__ or "" for value in own if value.__name__ not in known}
    assert {name for name, text in rest.items() if not known & set(re.findall(r"\w+", text))} == set(PLAIN)


# --- the rules themselves -------------------------------------------------------------------------------------------


def undocumented(x, y=1, *, z=None):
    """Do this. And that."""
    raise errors.InputError("no")


def documented(x: float, y: int = 1, *, z: str | None = None) -> float:
    """Add two numbers.

    Parameters
    ----------
    x : float
        The first.
    y : int, default 1
        The second.
    z : str, optional
        Nothing.

    Returns
    -------
    float

    Raises
    ------
    InputError
        Always.

    Examples
    --------
    >>> 1 + 1
    2
    """
    raise errors.InputError("no")


def told(function: Callable[..., Any], change: tuple[str, str] = ("", "")) -> str:
    """Every fault that the rules find in a function, after a change of its docstring."""
    altered = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    altered.__kwdefaults__, altered.__annotations__ = function.__kwdefaults__, function.__annotations__
    altered.__doc__ = (function.__doc__ or "").replace(*change)
    entry = Entry(function.__name__, altered)
    return "\n".join(fault for rule in RULES if rule is not _runs for fault in rule(entry))


def test_a_whole_docstring_has_no_fault() -> None:
    assert not told(documented)


def test_a_poor_docstring_has_many() -> None:
    assert told(undocumented).splitlines() == [
        "the first line is not one sentence: 'Do this. And that.'",
        "parameters without a word: ['x', 'y', 'z']",
        "it raises InputError and does not say when",
        "no example",
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("numbers.", "numbers"), "not one sentence"),
        (("    x : float\n        The first.\n", ""), "without a word: ['x']"),
        (("x : float", "w : float"), "absent from the signature"),
        (("x : float\n        The first.\n    y", "y : int, default 1\n        The first.\n    x"), "another order"),
        (("x : float", "x"), "without a type"),
        ((", default 1", ""), "default of y is not stated"),
        (("default 1", "default 2"), "default of y is 1, not 2"),
        ((", optional", ""), "default of z is not stated"),
        (("Returns\n    -------\n    float\n", ""), "does not say what it returns"),
        (("InputError\n", "ValueError\n"), "raises InputError and does not say when"),
        (("InputError\n", "InputError, NoSuchError\n"), "no such error: NoSuchError"),
        ((">>>", "..."), "no example"),
        (("1 + 1", "1 + 1  # doctest: +SKIP"), "does not run"),
        (("Examples", "Exmples"), "headings unknown"),
        (("Raises", "Returns"), "repeated"),
    ],
)
def test_each_fault_is_seen(change: tuple[str, str], fault: str) -> None:
    assert fault in told(documented, change)
