"""The docs name what exists: links, modules, options, commands, columns."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "backbench"
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
README_LINES = 120

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PACKAGES = (
    *("cli", "api", "sweep", "budget", "report", "executors", "results"),
    *("evaluation", "features", "backbones", "data", "analysis", "core"),
)
MODULE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:[./]\w+)*")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _text(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _modules(page: Path) -> Iterator[str]:
    """Module names in code spans and code blocks that begin with a package."""
    for line in _text(page).splitlines():
        words = line.replace(",", " ").split() if line.startswith("    ") else CODE.findall(line)
        for word in words:
            name = word.removesuffix(".py")
            # In a block a bare word may be plain English: only there a package alone does not count.
            if MODULE.fullmatch(name) and (not line.startswith("    ") or name not in PACKAGES):
                yield name


def _options() -> dict[str, set[str]]:
    """Options of every command, without --help."""
    group = importlib.import_module("backbench.__main__").main
    return {
        name: {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()
    }


def _first_cells(page: Path, heading: str) -> list[str]:
    """First cells of the tables in one section, header rows included."""
    section = _text(page).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(_text(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [DOCS / "architecture.md", DOCS / "glossary.md"], ids=_name)
def test_modules_exist(page: Path) -> None:
    names = set(_modules(page))
    assert names >= {"core.cells", "evaluation.linear_probe"}
    places = {name: SOURCE / name.replace(".", "/") for name in names}
    missing = [name for name, place in places.items() if not (place.is_dir() or place.with_suffix(".py").is_file())]
    assert sorted(missing) == []


def test_readme_lists_the_options_of_sweep() -> None:
    listed = OPTION.findall(" ".join(_first_cells(ROOT / "README.md", "Options of `backbench sweep`")))
    assert len(listed) == len(set(listed))
    assert set(listed) == _options()["sweep"] | {"--images"}


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "reference.md"], ids=_name)
def test_options_exist(page: Path) -> None:
    assert set(OPTION.findall(_text(page))) <= set().union(*_options().values())


def test_reference_lists_the_commands() -> None:
    cells = " ".join(_first_cells(DOCS / "reference.md", "Commands"))
    assert set(re.findall(r"`backbench (\w+)", cells)) == set(_options())


def test_reference_lists_the_columns() -> None:
    columns = importlib.import_module("backbench.core.columns").COLUMN_NAMES
    cells = " ".join(_first_cells(DOCS / "reference.md", "Columns of the table"))
    assert sorted(CODE.findall(cells)) == sorted(columns)


def test_index_lists_every_decision() -> None:
    decisions = {path.name for path in (DOCS / "decisions").glob("[0-9]*.md")}
    assert set(LINK.findall(_text(DOCS / "decisions" / "README.md"))) == decisions


def test_readme_is_short() -> None:
    assert len(_text(ROOT / "README.md").splitlines()) < README_LINES


def test_figures_in_the_readme_are_those_of_the_tables() -> None:
    spec = importlib.util.spec_from_file_location("readme_numbers", ROOT / "benchmarks" / "readme_numbers.py")
    assert spec is not None
    assert spec.loader is not None
    numbers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(numbers)
    readme = _text(ROOT / "README.md")
    assert numbers.written(readme) == readme, "run benchmarks/readme_numbers.py"
