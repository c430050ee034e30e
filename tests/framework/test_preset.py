"""Options under one name: in Python, in recipes, on the command line, and when they are unknown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

import preimage
from preimage import Budget, Catalogue, Component, Pipeline, Stage, Term
from preimage.assembly import check
from preimage.cli import main
from preimage.errors import AssemblyError, OptionError
from preimage.inversion import default_budget
from preimage.preset import Preset, preset_of, presets_of
from preimage.settings import Settings

pytest.importorskip("preimage_gcg")


@attrs.frozen(kw_only=True)
class Config:
    """Options with a preset."""

    width: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    depth: int = 2
    presets: ClassVar[Mapping[str, Preset]] = {"paper": Preset(options={"width": 7, "depth": 3}, num_steps=9)}


@attrs.frozen(kw_only=True)
class Wrong(Config):
    """Options whose preset they do not take."""

    presets: ClassVar[Mapping[str, Preset]] = {"paper": Preset(options={"width": 0})}


class Shows:
    """An optimizer that only keeps its config."""

    requires = frozenset[str]()
    rowwise = False
    State = object
    start = step = None

    def __init__(self, config: Config) -> None:
        self.config = config


@pytest.fixture
def catalogue() -> Catalogue:
    """Return a catalogue of two optimizers with presets."""
    catalogue = Catalogue(Settings(), path=())
    for name, config in (("shows", "Config"), ("wrong", "Wrong")):
        record = Component(
            name=name,
            target=f"{__name__}:Shows",
            config=f"{__name__}:{config}",
            api="1.0",
            summary="A record.",
            traits=("space:text",),
        )
        catalogue.register("optimizer", record, origin="records")
    return catalogue


def pipeline(**stage: Any) -> Pipeline:
    """Return a pipeline of one stage."""
    stage = {"optimizer": "shows", "budget": Budget(num_steps=1), **stage}
    return Pipeline(stages=[Stage(**stage)], terms=[Term(objective=object())])


def built(catalogue: Catalogue, **stage: Any) -> Config:
    """Return the config that a stage's optimizer is built with."""
    from preimage.assembly import _optimizer

    return _optimizer(pipeline(**stage).stages[0], catalogue).config


def test_given_options_come_on_top(catalogue: Catalogue) -> None:
    """A preset replaces defaults, and what is given replaces the preset."""
    assert built(catalogue) == Config(width=1, depth=2)
    assert built(catalogue, preset="paper") == Config(width=7, depth=3)
    assert built(catalogue, preset="paper", options={"depth": 5}) == Config(width=7, depth=5)


def test_unknown_preset(catalogue: Catalogue) -> None:
    """It is refused before a model is loaded, in a sentence that says what there is."""
    with pytest.raises(OptionError, match=r"'shows' has no preset 'papper'\. Did you mean 'paper'\? It has paper\."):
        check(pipeline(preset="papper"), catalogue)
    with pytest.raises(OptionError, match="has no preset 'paper'. It has none"):
        preset_of(Component, "paper", "The optimizer 'plain'")


def test_preset_that_the_config_refuses(catalogue: Catalogue) -> None:
    """Its values are validated like any others, before a model is loaded."""
    with pytest.raises(OptionError, match="width=0"):
        check(pipeline(optimizer="wrong", preset="paper"), catalogue)


def test_preset_of_a_live_optimizer(catalogue: Catalogue) -> None:
    """An object has its options already."""
    with pytest.raises(AssemblyError, match="the preset 'paper' and the optimizer Shows as an object"):
        check(pipeline(optimizer=Shows(Config()), preset="paper"), catalogue)


def test_recipe_round_trip() -> None:
    """A recipe keeps the preset's name."""
    term = Term(objective="clip-similarity", model="miniworld:clip")
    original = Pipeline(stages=[Stage(optimizer="gcg", budget=Budget(num_steps=1), preset="paper")], terms=[term])

    assert original.to_dict()["stages"][0]["preset"] == "paper"
    assert Pipeline.from_dict(original.to_dict()) == original


def test_steps_where_no_budget_is_given() -> None:
    """The preset says how long a search takes that was given no limit."""
    assert default_budget("gcg", "paper") == Budget(num_steps=3000)
    assert default_budget("gcg") == Budget(num_steps=250)


@pytest.mark.parametrize("kind", ["optimizer", "objective", "adapter", "distance", "model", "executor"])
def test_presets_of_all_that_is_installed(kind: str) -> None:
    """Each preset of an installed component is made of options that it takes, and says where they come from."""
    installed = preimage.catalogue()
    for name in installed.names(kind):
        config = installed.config(kind, name)
        for preset in presets_of(config).values():
            config(**preset.options)
            assert preset.summary.endswith(".")


def test_show_lists_presets(capsys: pytest.CaptureFixture[str]) -> None:
    """`preimage show` says what a preset stands for."""
    assert main(["show", "gcg"]) == 0
    out = capsys.readouterr().out

    assert "presets (--preset NAME)" in out
    assert "search_width=512 topk=256 n_replace=1; 3000 steps" in " ".join(out.split())


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--preset` is for all stages or for the one it names; Python with the same preset gives the same prompt."""
    miniworld = pytest.importorskip("preimage_miniworld.data")
    picture = tmp_path / "picture.png"
    miniworld.demo_scenes()[0][1].save(picture)
    small = ["-o", "search_width=16", "-o", "prompt_length=4", "--num-steps", "2"]
    assert main(["invert", str(picture), "--model", "miniworld:clip", "--preset", "paper", *small, "--json"]) == 0
    result = preimage.Result.from_json(capsys.readouterr().out)
    options = {"search_width": 16, "prompt_length": 4}
    again = preimage.invert(picture, model="miniworld:clip", preset="paper", num_steps=2, **options)

    assert again.text == result.text
    assert result.provenance.recipe["stages"][0]["preset"] == "paper"
    assert main(["invert", str(picture), "--optimizer", "pez -> gcg", "--preset", "gvg.paper"]) != 0
    assert "Did you mean 'gcg'? The stages are 1 (pez), 2 (gcg)" in capsys.readouterr().err
