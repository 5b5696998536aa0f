"""The documentation against the tree: links, the index, commands with their options, imports."""

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The names that headings have in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_name
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("folder", ["docs", "docs/results"])
def test_the_index_names_every_page(folder):
    index = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / folder).glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


PROGRAM = re.compile(
    r"python ((?:-m (?:benchmarks|rooted|torch_utils|training)[\w.]*|[\w/]+\.py)(?: [^\n`#>|&;]*)?)"
)  # and its options


def commands(page: Path) -> list[list[str]]:
    """The words after `python` of every command of ours on a page, continued lines joined."""
    found = PROGRAM.findall(page.read_text(encoding="utf-8").replace("\\\n", " "))
    return [shlex.split(line) for line in found if line.count("'") % 2 == line.count('"') % 2 == 0]


def parameters(words: list[str]) -> list[click.Parameter] | None:
    """The options of what the words run; None for a program without click."""
    name = words[1] if words[0] == "-m" else words[0].removesuffix(".py").replace("/", ".")
    name = {"benchmarks.run": "benchmarks.stages"}.get(name, name)
    if (ROOT / "rooted_stylegan" / f"{name}.py").exists():  # a script of the checkout; studio/ has that name, too
        name = f"rooted_stylegan.{name}"
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):  # a package is its __main__.py, or what that calls
        found = importlib.util.find_spec(f"{name}.command") or importlib.util.find_spec(f"{name}.__main__")
        module = importlib.import_module(found.name)
    return module.main.params if hasattr(module, "main") else None


@by_name
def test_commands_exist_and_have_their_options(page):
    for words in commands(page):
        if words[0] != "-m" and not (ROOT / words[0]).exists():
            assert words[0] in ("download_ffhq.py",), words  # of FFHQ's own repository
            continue
        options = parameters(words)
        if options is None:
            continue
        known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
        own = words[: words.index("--")] if "--" in words else words  # what follows goes to another program
        given = {word.partition("=")[0] for word in own if word.startswith("--")}
        assert given <= known | {"--help"}, (words, given - known)


IMPORT = re.compile(
    r"^ *(from (?:dnnlib|torch_utils|rooted(?:_stylegan)?|training|metrics|generation|projection)[\w.]* import .+)$",
    re.MULTILINE,
)


@by_name
def test_imports_in_examples_exist(page):
    for line in IMPORT.findall(page.read_text(encoding="utf-8")):
        [statement] = ast.parse(line).body
        module = importlib.import_module(statement.module)
        for alias in statement.names:
            assert hasattr(module, alias.name) or importlib.util.find_spec(f"{statement.module}.{alias.name}"), line
