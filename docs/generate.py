"""Writes the reference pages from the code while the documentation is built: nothing in them can go stale.

mkdocs calls `on_files`, which adds the pages of `PAGES`, and `on_page_markdown`, which puts a table of options in the
place of ``{{ options module:Class }}``, a file of the repository in the place of ``{{ file path }}``, and all pages of
a folder, one below the other, in the place of ``{{ tables folder }}``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import itertools
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from mkdocs.structure.files import File, Files

import preimage
from preimage import api, cli, errors, testing
from preimage.api import hooks
from preimage.configuration import Option, options_of
from preimage.plugin import Provider
from preimage.preset import presets_of
from preimage.testing.check import CheckList

SECTIONS = ("Arguments:", "Attributes:", "Raises:")
ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what stands between double braces."""
    for pattern, content in PLACES.items():
        markdown = re.sub(r"\{\{ " + pattern + r" \}\}", content, markdown)
    return markdown


def _options(match: re.Match[str]) -> str:
    module, name = match.groups()
    return "\n".join(option_table(options_of(getattr(importlib.import_module(module), name))))


def _file(match: re.Match[str]) -> str:
    return (ROOT / match[1]).read_text(encoding="utf-8").rstrip()


def _tables(match: re.Match[str]) -> str:
    pages = (path.read_text(encoding="utf-8") for path in sorted((ROOT / match[1]).glob("*.md")))
    return "\n\n".join(re.sub(r"^#", "##", page, flags=re.MULTILINE).rstrip() for page in pages)


PLACES: dict[str, Callable[[re.Match[str]], str]] = {
    r"options ([\w.]+):(\w+)": _options,
    r"file (\S+)": _file,
    r"tables (\S+)": _tables,
}


def rendered(text: str | None) -> str:
    """Return a docstring as Markdown: sections as lists, examples as blocks, double backquotes as single ones."""
    return "\n\n".join(_blocks(inspect.cleandoc(text or "")))


def _blocks(text: str) -> Iterator[str]:
    paragraphs = iter(re.split(r"\n\n+", text))
    literal = False
    for paragraph in paragraphs:
        head, _, rest = paragraph.partition("\n")
        if literal and paragraph.startswith("    "):
            yield "```text\n" + inspect.cleandoc(paragraph) + "\n```"
        elif head in SECTIONS:
            yield f"**{head[:-1]}**"
            yield "\n".join(_items(rest))
        elif paragraph.startswith(">>>"):
            yield f"```pycon\n{paragraph}\n```"
        elif set(head) <= {"=", " "} and head:
            yield "\n".join(_table(paragraph))
        else:
            literal = paragraph.endswith("::") or (literal and paragraph.startswith("    "))
            yield _inline(re.sub(r"\s*::$", ":", paragraph))
            continue
        literal = literal and paragraph.startswith("    ")


def _items(text: str) -> Iterator[str]:
    """Yield a list item for each entry of a section, continued lines joined."""
    for entry in re.split(r"\n(?=    \S)", text):
        name, colon, meaning = " ".join(entry.split()).partition(": ")
        yield f"- `{name}`: {_inline(meaning)}" if colon else f"- {_inline(name)}"


def _table(text: str) -> Iterator[str]:
    """Yield a Markdown table for one of reStructuredText's simple tables."""
    lines = text.splitlines()
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    columns = list(itertools.zip_longest(starts, starts[1:]))
    rows = [line for line in lines if set(line) - {"=", " "}]
    ruled = sum(not set(line) - {"=", " "} for line in lines)
    if ruled < 3:
        rows.insert(0, "")
    for index, row in enumerate(rows):
        cells = [_inline(row[start:end].strip()) for start, end in columns]
        yield f"| {' | '.join(cells)} |"
        if index == 0:
            yield "| --- " * len(columns) + "|"


def _inline(text: str) -> str:
    return text.replace("``", "`")


class _Words:
    """An annotation that is shown as it was written, without quotation marks."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    def __repr__(self) -> str:
        written = self.annotation
        return written if isinstance(written, str) else inspect.formatannotation(written)


def signature(item: Callable[..., Any], name: str) -> str:
    """Return ``name(parameters)`` as a block, one parameter a line where they do not fit one line."""
    found = inspect.signature(item)
    empty, parts = inspect.Parameter.empty, []
    kinds = [parameter.kind for parameter in found.parameters.values()]
    for index, parameter in enumerate(found.parameters.values()):
        if parameter.annotation is not empty:
            parameter = parameter.replace(annotation=_Words(parameter.annotation))
        if parameter.default is attrs.NOTHING:
            parameter = parameter.replace(default=...)
        if parameter.kind is parameter.KEYWORD_ONLY and not {parameter.kind, parameter.VAR_POSITIONAL} & set(
            kinds[:index]
        ):
            parts.append("*")
        parts.append(str(parameter).replace("Ellipsis", "..."))
        if kinds[index : index + 2].count(parameter.POSITIONAL_ONLY) == 1 and kinds[index] is parameter.POSITIONAL_ONLY:
            parts.append("/")
    parts = [part for part in parts if part != "self"]
    annotated = not inspect.isclass(item) and found.return_annotation is not empty
    returns = f" -> {_Words(found.return_annotation)}" if annotated else ""
    line = f"{name}({', '.join(parts)}){returns}"
    if len(line) > 90:
        line = f"{name}(\n    " + ",\n    ".join(parts) + f",\n){returns}"
    return f"```python\n{line}\n```"


def described(item: Any, name: str, level: int = 2) -> Iterator[str]:
    """Yield the documentation of a function or class with its public methods."""
    yield f"{'#' * level} `{name}`"
    if inspect.isclass(item):
        protocol = getattr(item, "_is_protocol", False)
        if not protocol and not issubclass(item, BaseException):
            yield signature(item, name)
        yield rendered(item.__doc__)
        yield from _fields(item)
        for attribute, member in vars(item).items():
            if attribute.startswith("_"):
                continue
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(function):
                yield f"{'#' * (level + 1)} `{name}.{attribute}`"
                yield signature(function, attribute)
                yield rendered(function.__doc__)
            elif isinstance(member, property) and member.__doc__:
                yield f"{'#' * (level + 1)} `{name}.{attribute}`"
                yield rendered(member.__doc__)
    elif callable(item):
        yield signature(item, name)
        yield rendered(item.__doc__)


def _fields(item: type) -> Iterator[str]:
    """Yield a table of the fields of a record that says something about them."""
    if not attrs.has(item):
        return
    if any("help" in field.metadata for field in attrs.fields(item)):
        yield "\n".join(option_table(options_of(item)))
        return
    documented = dict(_attribute_docs(item))
    if documented:
        rows = (f"| `{name}` | {_inline(' '.join(text.split()))} |" for name, text in documented.items())
        yield "\n".join(["| field | meaning |", "| --- | --- |", *rows])


def _attribute_docs(item: type) -> Iterator[tuple[str, str]]:
    """Yield name and text of the strings that stand below the fields of a class, as far as they are one paragraph."""
    import ast

    (definition,) = ast.parse(inspect.cleandoc(inspect.getsource(item))).body
    body = getattr(definition, "body", [])
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), str(text.value.value).split("\n\n")[0]


def option_table(options: Iterable[Option]) -> Iterator[str]:
    """Yield the lines of a table of options."""
    yield "| option | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for option in options:
        default = "required" if option.required else f"`{option.default}`" if option.default else "none"
        kind = option.type.replace("|", "\\|")
        yield f"| `{option.name}` | {kind} | {default} | {option.help.replace('|', chr(92) + '|')} |"


def hook_page() -> str:
    """Return the page of the hooks."""
    parts = ["# Hooks", rendered(hooks.__doc__), f"The group of entry points is `{hooks.GROUP}`."]
    kinds = {hook: kind for kind, hook in hooks.COLLECTORS.items()}
    for name, function in vars(hooks).items():
        if not (inspect.isfunction(function) and hasattr(function, f"{hooks.PROJECT}_spec")):
            continue
        parts.append(f"## `{name}`")
        version = api.API.get(kinds.get(name, ""))
        if version:
            parts.append(f"Collects components of the kind *{kinds[name]}*, contract {version[0]}.{version[1]}.")
        parts += [signature(function, name), rendered(function.__doc__)]
    return "\n\n".join(parts)


def component_page() -> str:
    """Return the page of everything that our plugins provide."""
    catalogue = preimage.catalogue()
    here = {f"preimage-{path.parent.name}" for path in ROOT.glob("plugins/*/pyproject.toml")}
    ours = [provider for provider in catalogue.providers if provider.distribution in here]
    parts = [
        "# Components",
        "What the plugins of this repository provide. `preimage show NAME` prints the same for whatever is installed. "
        "An option is given as `-o name=value` on the command line, as a keyword in Python, and below `options` in a "
        "recipe.",
        "| kind | name | plugin | summary |\n| --- | --- | --- | --- |\n"
        + "\n".join(
            f"| {item.kind} | [`{item.component.name}`](#{item.component.name}) | `{item.distribution}` "
            f"| {item.component.summary} |"
            for item in ours
        ),
    ]
    for provider in ours:
        parts += _component(provider)
    return "\n\n".join(parts)


def _component(provider: Provider) -> Iterator[str]:
    component = provider.component
    yield f"## `{component.name}` {{ #{component.name} }}"
    yield component.summary
    facts = {
        "kind": provider.kind,
        "install": f"`pip install {provider.distribution}`",
        "contract": component.api,
        "traits": ", ".join(f"`{trait}`" for trait in component.traits),
        "needs": ", ".join(f"`{need}`" for need in component.needs),
        "source": _source(component.cite),
    }
    yield "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if fact)
    config = preimage.catalogue().config(provider.kind, provider.qualified)
    options, presets = options_of(config), presets_of(config)
    yield "\n".join(option_table(options)) if options else "It has no options."
    if presets:
        rows = (f"| `{name}` | `{preset.describe()}` | {preset.summary} |" for name, preset in presets.items())
        yield "\n".join(["| preset | stands for | source |", "| --- | --- | --- |", *rows])


def _source(cite: str) -> str:
    scheme, _, number = cite.partition(":")
    return f"[{cite}](https://arxiv.org/abs/{number})" if scheme == "arXiv" else cite


def command_page() -> str:
    """Return the page of the command line: what ``--help`` prints for each command."""
    parts = ["# Command line", "What `--help` prints. Every command ends with one of the exit codes below."]
    codes = inspect.cleandoc(cli.__doc__ or "").partition("Exit codes:")[2]
    parts.append(rendered(codes.strip()))
    parts.append(_help([]))
    commands = [*cli.COMMANDS, *(entry.name for entry in preimage.catalogue().discovery.commands if not entry.problem)]
    for command in commands:
        parts += [f"## `preimage {command}`", _help([command])]
        for sub in re.findall(r"^    (\w[\w-]*)  ", _printed([command]), re.MULTILINE):
            parts += [f"### `preimage {command} {sub}`", _help([command, sub])]
    return "\n\n".join(parts)


def _help(arguments: list[str]) -> str:
    return f"```text\n{_printed(arguments).rstrip()}\n```"


def _printed(arguments: list[str]) -> str:
    output = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}), contextlib.redirect_stdout(output):
        code = cli.main([*arguments, "--help"])
    assert code == 0, arguments
    return output.getvalue()


def error_page() -> str:
    """Return the page of the errors, which all say what happened, why that is not allowed and what to do."""
    parts = [
        "# Errors",
        "Every error that Preimage raises on purpose is a `PreimageError` and the builtin that you would catch "
        "without knowing Preimage. Its message says what happened with the values, why that is not allowed, and what "
        "to do. The command line prints the message as one sentence and ends with the exit code; `PREIMAGE_DEBUG=1` "
        "adds the traceback. Errors of plugins name the plugin, its version and the component.",
    ]
    rows = ["| class | also a | exit code | when |", "| --- | --- | --- | --- |"]
    for name in errors.__all__:
        item = getattr(errors, name)
        if not inspect.isclass(item):
            continue
        builtins = [base.__name__ for base in item.__bases__ if base is not errors.PreimageError]
        code = next(code for classes, code in cli._EXIT_CODES if issubclass(item, classes))
        rows.append(f"| `{name}` | `{', '.join(builtins)}` | {code} | {rendered(item.__doc__)} |")
    return "\n\n".join([*parts, "\n".join(rows)])


def python_page() -> str:
    """Return the page of the public names of `preimage`."""
    parts = ["# Python", "Everything that `import preimage` offers; nothing heavy is imported until it is used."]
    for name in preimage.__all__:
        item = getattr(preimage, name)
        if inspect.ismodule(item):
            item = getattr(item, name)
        if name == "PreimageError":
            parts += [f"## `{name}`", "The root of all [errors](errors.md)."]
        elif name == "hookimpl":
            parts += [f"## `{name}`", "Marks the functions of a plugin's module that implement [hooks](hooks.md)."]
        elif isinstance(item, str):
            parts += [f"## `{name}`", f"`{item!r}`: where the prompt stands in a template."]
        else:
            parts += described(item, name)
    return "\n\n".join(parts)


def contract_page() -> str:
    """Return the page of the contracts between host and plugins."""
    parts = ["# Contracts", rendered(api.__doc__)]
    elsewhere = {*preimage.__all__, "API", "KINDS", "ROLES", "Request", "Step"}
    for name in api.__all__:
        if name not in elsewhere:
            parts += described(getattr(api, name), name)
    parts += [
        "## Roles of models",
        "| role | protocol |\n| --- | --- |\n"
        + "\n".join(f"| `{role}` | `{protocol.__name__}` |" for role, protocol in api.ROLES.items()),
    ]
    return "\n\n".join(parts)


def conformance_page() -> str:
    """Return the page of the rules that `preimage.testing` checks, by kind."""
    parts = [
        "# Conformance",
        "The rules that `preimage check`, the suites and the functions of `preimage.testing` check. An optional rule "
        "is reported and forgiven. See [writing a plugin](../plugins.md#the-tests) for how to run them.",
    ]
    for found in pkgutil.iter_modules(testing.__path__):
        checks = getattr(importlib.import_module(f"{testing.__name__}.{found.name}"), "CHECKS", None)
        if not isinstance(checks, CheckList):
            continue
        rows = ["| id | level | rule | remedy |", "| --- | --- | --- | --- |"]
        rows += [
            f"| `{check.id}` | {check.level} | {_inline(check.text)} | {_inline(check.remedy)} |" for check in checks
        ]
        parts += [f"## {checks.title}", "\n".join(rows)]
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "python": python_page,
    "command-line": command_page,
    "components": component_page,
    "hooks": hook_page,
    "contracts": contract_page,
    "conformance": conformance_page,
    "errors": error_page,
}
