"""What README and docs/ say is so: code runs, options exist, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from clusters import default_settings
from dask.config import get as dask_setting
from distributed.cli import dask_scheduler, dask_worker

import daskgnn
from daskgnn.cli import gnn

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MOST_NOT_RUN = 4
FENCE = re.compile(
    r"^(?P<why><!-- not run: [^\n]+ -->\n\s*)?```(?P<kind>\w*)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path, kind: str) -> list[re.Match]:
    """Return the fenced blocks of one language."""
    return [m for m in FENCE.finditer(page.read_text()) if m["kind"] == kind]


def prose_of(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def with_python() -> list[Path]:
    """Return the pages with Python to run."""
    return [
        page
        for page in PAGES
        if page.parent.name != "decisions"  # they describe the code of their time
        and any(block["why"] is None for block in blocks_of(page, "python"))
    ]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyG
@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks_of(page, "python"):
        if block["why"] is None:
            line = page.read_text()[: block.start("code")].count("\n")
            code = compile("\n" * line + block["code"], str(page), "exec")
            with default_settings():  # a page may set others
                exec(code, names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_can_be_parsed(page):
    for block in blocks_of(page, "python"):
        ast.parse(block["code"])


def test_few_blocks_are_not_run():
    unrun = [
        page for page in PAGES for block in blocks_of(page, "python") if block["why"]
    ]
    assert len(unrun) <= MOST_NOT_RUN


def commands_of(page: Path) -> list[list[str]]:
    """Return the commands of the page's shell blocks, as words."""
    found = []
    for block in blocks_of(page, "console"):
        for line in block["code"].replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(words)
    return found


def command_of(name: str) -> click.Command:
    command = gnn.get_command(click.Context(gnn), name)
    assert command is not None, f"there is no command {name}"
    return command


def options_of(command: click.Command) -> dict[str, click.Parameter]:
    return {
        name: option
        for option in command.params
        for name in [*option.opts, *option.secondary_opts, "--help"]
    }


def options_of_scripts() -> set[str]:
    """Return the options that benchmarks, deployed scripts and tests' settings name."""
    scripts = [
        *(ROOT / "benchmarks").glob("*.py"),
        *(ROOT / "deploy").rglob("*.py"),
        *(ROOT / "tests").rglob("conftest.py"),
    ]
    text = "\n".join(script.read_text() for script in scripts)
    return set(re.findall(r'"(--[a-z-]+)"', text))


def check_options(command: click.Command, words: list[str]) -> None:
    """Fail if an option is unknown, or its value none of its choices."""
    known = options_of(command)
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, _, value = word.partition("=")
        assert name in known, f"{command.name} has no {name}"
        kind = known[name].type
        if isinstance(kind, click.Choice):
            assert (value or words[place + 1]) in kind.choices


def check_own(words: list[str]) -> None:
    if words[0] in ("scheduler", "worker"):
        check_dask(words)
        return
    command, *rest = command_of(words[0]), *words[1:]
    if isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), rest[0])
        assert inner is not None, f"there is no command {' '.join(words[:2])}"
        command, rest = inner, rest[1:]
    check_options(command, rest)


def check_dask(words: list[str]) -> None:
    if words[0] == "gnn":
        check_own(words[1:])
    else:
        commands = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
        check_options(commands[words[0]], words[1:])


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        line = f"^{re.escape(name)}{' [?]=' if is_variable else ':'}"
        assert re.search(line, makefile, re.MULTILINE), word


def check_script(words: list[str]) -> None:
    assert (ROOT / words[0]).exists()
    used = {word.split("=")[0] for word in words if word.startswith("--")}
    assert used <= options_of_scripts()


def check_tests(words: list[str]) -> None:
    for word in words:
        assert not word.startswith("tests/") or (ROOT / word).exists()


def check_variable(words: list[str]) -> None:
    name, _, _ = words[0].partition("=")
    if name.startswith("DASK_"):
        setting = name.removeprefix("DASK_").lower().replace("__", ".")
        assert dask_setting(setting, default=...) is not ..., setting


def check_package(words: list[str]) -> None:
    assert words[0] == "install"


CHECKS = {
    "daskgnn": check_own,
    "dask": check_dask,
    "export": check_variable,
    "make": check_make,
    "pip": check_package,
    "pytest": check_tests,
    "python": check_script,
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_with_their_options(page):
    for words in commands_of(page):
        program, *rest = words
        CHECKS[program](rest)


def test_options_named_in_the_text_exist():
    ours = [command_of(name) for name in gnn.list_commands(click.Context(gnn))]
    inner = [c for group in ours for c in getattr(group, "commands", {}).values()]
    commands = [*ours, *inner, dask_scheduler.main, dask_worker.main]
    known = options_of_scripts().union(*map(options_of, commands))
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", prose_of(page)):
            for name in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
                assert name in known, f"{name_of(page)}: {name}"


def slug(heading: str) -> str:
    """Return the anchor that Markdown makes of a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    kept = re.sub(r"[^\w\s-]", "", plain).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+?)\s*$", prose_of(page), re.MULTILINE)
    return {slug(heading) for heading in headings}


LINKING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_links_and_anchors_lead_somewhere(page):
    for link in LINK.findall(prose_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


def public_names() -> list[str]:
    modules = {"daskgnn": daskgnn.__all__}
    for name in ("daskgnn.nn", "daskgnn.sampling", "daskgnn.tasks", "daskgnn.vision"):
        modules[name] = import_module(name).__all__
    return [
        f"{module}.{name}"
        for module, names in modules.items()
        for name in names
        if f"{module}.{name}" != "daskgnn.nn"
    ]


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(p.read_text() for p in (DOCS / "reference").glob("*.md"))
    entries = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    errors = {name for name in vars(daskgnn.errors) if name[0].isupper()}
    covered = {f"daskgnn.{name}" for name in errors}
    assert "daskgnn.errors" in entries
    assert set(public_names()) - covered <= entries


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS)}\n" in menu


def test_pictures_are_well_formed_and_told_in_words():
    for picture in DOCS.rglob("*.svg"):
        root = ElementTree.fromstring(picture.read_text())
        assert root.find("{http://www.w3.org/2000/svg}desc").text


PATH = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py|(?:[\w-]+/)+)`")
TEST = re.compile(r"`(test_\w+)`")
FIELDS = {"test_accuracy", "test_auc", "test_mask", "test_metric"}
"""Scores and arrays, not tests."""


def files_named(text: str) -> list[str]:
    """Return the Python files and folders that a text names in backticks."""
    return PATH.findall(text)


def exists(name: str) -> bool:
    """Return whether the repository or the package has it; tests by name alone."""
    roots = (ROOT, ROOT / "daskgnn", ROOT / "tests")
    if any((root / name).exists() for root in roots):
        return True
    return name.startswith("test_") and any((ROOT / "tests").rglob(name))


NAMING = [page for page in LINKING if page.name != "CHANGELOG.md"]
MADE_BY_USERS = {
    "checkpoints/",
    "checkpoints/step-00000120/",
    "cluster.py",
    "first.py",
    "runs/",
    "site/",
}
"""Scripts that a page has the reader write, and folders of runs."""


@pytest.mark.parametrize("page", NAMING, ids=name_of)
def test_files_that_pages_name_exist(page):
    named = set(files_named(prose_of(page))) - MADE_BY_USERS
    assert not sorted(name for name in named if not exists(name))


def test_files_in_backticks_are_found():
    text = "`kernels/seeds.py`, `daskgnn/nn/`, `x.py`, `gnn.window`, `a/b.csv`"
    assert files_named(text) == ["kernels/seeds.py", "daskgnn/nn/", "x.py"]
    assert exists("kernels/seeds.py")
    assert exists("test_docs.py")
    assert not exists("kernels/step.py")


def test_tests_that_pages_name_exist():
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", source))
    for page in NAMING:
        named = set(TEST.findall(prose_of(page))) - FIELDS
        assert named <= defined, name_of(page)
