"""Every block of code in the README and the documentation runs, page by page, from top to bottom.

Python blocks of a page share one namespace. Of shell blocks the lines that call ``preimage`` are carried out, in this
process; what installs or builds is left to the tests of packaging. A YAML or TOML block is written to the file that its
title names. What names weights of a hub is only read, because no test may need the network. Anything else must say
that it is ``text``.
"""

from __future__ import annotations

import glob
import importlib.util
import re
import shlex
import sys
import types
from pathlib import Path

import attrs
import pytest

from preimage.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
ELSEWHERE = ("make ", "pip install ", "git clone ", "cd ", "pytest", "python -m preimage_miniworld.training")
NEEDS_A_DOWNLOAD = re.compile(r"laion\w*_|hf:\w|sd:\w")


@attrs.frozen
class Block:
    """One fenced block of a page."""

    language: str
    title: str
    code: str


def blocks(page):
    return [
        Block(found["language"], found["title"] or "", found["code"])
        for found in FENCE.finditer(page.read_text(encoding="utf-8"))
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: two pictures with the names that the pages use, and a module for their code."""
    from preimage_miniworld.data import demo_scenes

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, (_, picture, _) in zip(("picture.png", "other.png"), demo_scenes(), strict=False):
        picture.save(name)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    return tmp_path


def commands(code):
    """Return the command lines of a shell block, continued lines joined and patterns expanded."""
    for line in code.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            words = shlex.split(line, comments=True)
            yield line, [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]


def carry_out(line, words):
    assert words[0] == "preimage" or line.startswith(ELSEWHERE), f"{line!r} is run by no test"
    if words[0] == "preimage" and not NEEDS_A_DOWNLOAD.search(line):
        assert main(words[1:]) == 0, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page, folder, capsys):
    """No page promises what does not work."""
    namespace = vars(sys.modules["__main__"])
    for block in blocks(page):
        file = re.match(r"\{\{ file (\S+) \}\}", block.code)
        if block.title and block.language in {"yaml", "toml"}:
            code = (ROOT / file[1]).read_text(encoding="utf-8") if file else block.code
            (folder / block.title).write_text(code, encoding="utf-8")
        elif file:
            continue
        elif block.language == "python":
            code = compile(block.code, f"{page.name}: {block.code.splitlines()[0]}", "exec")
            if not NEEDS_A_DOWNLOAD.search(block.code):
                exec(code, namespace)
        elif block.language in {"sh", ""}:
            for line, words in commands(block.code):
                carry_out(line, words)
        else:
            assert block.language == "text", f"A block of {page.name} is neither run nor said to be text: {block.code}"
        capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    """Pictures and pages that are linked to exist; generated ones are known to the generator."""
    links = re.findall(
        r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
    for link in links:
        if not link.startswith(("http:", "https:")):
            generated = {f"reference/{name}.md" for name in generator().PAGES}
            assert (page.parent / link).exists() or link in generated, link


def generator():
    """Return the module that writes the reference pages."""
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_documentation_builds(tmp_path):
    """Strictly: no broken link or anchor, no page outside the navigation; and nothing in it needs the network."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)
    pages = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "reference/hooks/index.html", "reference/components/index.html"} <= pages
    external = re.compile(r"<(?:script|img)[^>]* src=\"(?:https?:)?//|<link[^>]*stylesheet[^>]* href=\"(?:https?:)?//")
    for path in (tmp_path / "site").rglob("*.html"):
        assert not external.search(path.read_text(encoding="utf-8")), path
