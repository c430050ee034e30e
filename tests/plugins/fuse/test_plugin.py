"""What the distribution declares, its command, and that declaring costs nothing."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import preimage_fuse
from preimage import catalogue
from preimage.cli import main
from preimage.configuration import options_of
from preimage_fuse.plugin import provide_adapters

README = Path(__file__).parents[3] / "plugins" / "fuse" / "README.md"


@pytest.fixture
def clip_folder():
    """The folder of the mini world's CLIP, which stands for any model that can be loaded twice."""
    miniworld = pytest.importorskip("preimage_miniworld")
    return Path(miniworld.__file__).parent / "models" / "clip"


def test_records_name_what_exists() -> None:
    """Targets and options can be imported, and the names agree with the classes."""
    for component in provide_adapters():
        module, _, attribute = component.target.partition(":")
        target = getattr(importlib.import_module(module), attribute)
        module, _, attribute = component.config.partition(":")
        config = getattr(importlib.import_module(module), attribute)

        assert target.name == component.name
        assert attrs.has(config)
        assert catalogue().load("adapter", component.name) is target


def test_every_option_is_explained() -> None:
    """Each has a help text and a default, and the README's table lists it with both."""
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", README.read_text("utf-8"), re.MULTILINE))
    options = {
        option.name: f"{option.default} | {option.help}"
        for component in provide_adapters()
        for option in options_of(catalogue().config("adapter", component.name))
    }

    assert all(text.endswith(".") for text in options.values())
    assert table == options


def test_the_records_are_read_without_torch() -> None:
    """Neither torch nor numpy is imported to list the plugin or its options."""
    code = (
        "import sys, preimage_fuse.config, preimage_fuse.plugin; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_package_offers_its_names_lazily() -> None:
    """What is listed can be had, and anything else is an attribute error."""
    assert all(hasattr(preimage_fuse, name) for name in preimage_fuse.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fuze'"):
        _ = preimage_fuse.fuze


class TestAdapt:
    def test_prints_quality_and_keeps_the_adapter(self, clip_folder, tmp_path, capsys) -> None:
        """The command fits, prints a row for each case, and says where the file is."""
        arguments = ["adapt", "miniworld:clip", f"open_clip:{clip_folder}", "-o", f"cache_dir={tmp_path}"]
        assert main([*arguments, "-o", "max_subtokens=2", "-o", "stretched=0"]) == 0
        lines = capsys.readouterr().out.splitlines()
        (file,) = tmp_path.glob("*.safetensors")

        assert lines[0] == f"fuse: miniworld:clip to open_clip:{clip_folder}"
        assert lines[2].split() == ["source", "tokens", "target", "tokens", "words", "residual", "held", "out"]
        assert [line.split()[:2] for line in lines[3:7]] == [["1", "1"], ["2", "2"], [], ["residual:", "|map"]]
        assert lines[-1] == f"kept in {file}"

    def test_as_json(self, clip_folder, tmp_path, capsys) -> None:
        """The same can be had as JSON, for the baselines, too."""
        reference = f"open_clip:{clip_folder}"
        arguments = ["adapt", reference, reference, "--json", "--adapter", "linear", "-o", f"cache_dir={tmp_path}"]
        assert main(arguments) == 0
        record = json.loads(capsys.readouterr().out)

        assert record["adapter"] == "linear"
        assert record["cases"][0]["words"] > 100
        assert record["cases"][0]["held_out"] < 0.5
        assert Path(record["saved_in"]).is_file()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["clip", "miniworld:clip"], "'clip' is not of the form loader:name"),
            (["miniworld:clap", "miniworld:clip"], "no model 'clap'"),
            (["miniworld:clip", "miniworld:clip", "-o", "rigde=1"], "no option 'rigde'. Did you mean 'ridge'"),
            (["miniworld:clip", "miniworld:clip", "-o", "ridge"], "-o ridge is not of the form name=value"),
            (["miniworld:clip", "miniworld:clip", "--adapter", "fuze"], "Did you mean 'fuse'"),
            (["miniworld:clip", "miniworld:clip", "-o", "words_file=none.txt"], "cannot be read"),
            (["miniworld:clip"], "required: TARGET"),
        ],
    )
    def test_bad_input(self, clip_folder, arguments, words, capsys) -> None:
        """What cannot be is one sentence and a code of 2."""
        assert main(["adapt", *arguments]) == 2
        said = capsys.readouterr().err

        assert words in said
        assert said.count("\n") == 1
