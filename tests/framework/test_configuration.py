"""Options, as people type them, become config objects."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
import pytest
from attrs.validators import ge, in_, instance_of

from preimage.configuration import configure, convert, options_of
from preimage.errors import ConstraintError, OptionError, PluginError

if TYPE_CHECKING:
    from nowhere import Nothing


class Mode(enum.Enum):
    GREEDY = "greedy"
    BEAM = "beam search"


@attrs.frozen(kw_only=True)
class Config:
    topk: int = attrs.field(default=256, validator=[instance_of(int), ge(1)], metadata={"help": "Tokens kept."})
    rate: float = 0.1
    text: str | None = None
    mode: Literal["greedy", "beam"] = attrs.field(default="greedy", validator=in_(["greedy", "beam"]))
    words: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    _hidden: bool = False
    derived: int = attrs.field(init=False, default=3)


OWNER = "The optimizer 'gcg'"


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("64", int, 64),
        ("1e3", int, 1000),
        ("-1", int, -1),
        ("1e-3", float, 0.001),
        (1, float, 1.0),
        ("true", bool, True),
        ("Off", bool, False),
        ("1", bool, True),
        ("none", int | None, None),
        ("7", int | None, 7),
        (None, int | None, None),
        ("none", str | None, "none"),
        ("64", str, "64"),
        ("64", str | int, "64"),
        (64, str | int, 64),
        ("3", int | float, 3),
        ("3.5", int | float, 3.5),
        (3.0, int | float, 3.0),
        ("auto", int | Literal["auto"], "auto"),
        ("none", Literal["a", None], None),
        ("2", Literal[1, 2], 2),
        ("greedy", Mode, Mode.GREEDY),
        ("BEAM", Mode, Mode.BEAM),
        ("beam search", Mode, Mode.BEAM),
        (Mode.BEAM, Mode, Mode.BEAM),
        ("a, b", tuple[str, ...], ("a", "b")),
        ("", tuple[str, ...], ()),
        ("one", tuple[str, ...], ("one",)),
        ('["a, b", "c"]', tuple[str, ...], ("a, b", "c")),
        (["a", "b"], tuple[str, ...], ("a", "b")),
        ("1,2", tuple[int, int], (1, 2)),
        ("1,2", list[int], [1, 2]),
        ("none", tuple[str, ...] | None, None),
        ("a,b", tuple[str, ...] | None, ("a", "b")),
        ("./x", Path, Path("x")),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ("5", Annotated[int, "steps"], 5),
        ("x", Any, "x"),
    ],
)
def test_convert(text, annotation, value):
    """Text is read by the type of the field; values that fit stay as they are."""
    converted = convert(text, annotation)

    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("x", int),
        ("1.5", int),
        (True, int),
        (2.0, int),
        ("maybe", bool),
        (1, bool),
        ("x", float),
        (False, float),
        (3, str),
        ("c", Literal["a", "b"]),
        ("c", Mode),
        ("1,2,3", tuple[int, int]),
        (3, tuple[str, ...]),
        ("x", int | None),
        ("a=1", dict[str, int]),
    ],
)
def test_convert_refuses(value, annotation):
    """What does not fit is refused here, and not by whatever it would break later."""
    with pytest.raises(ValueError, match=r"\w"):
        convert(value, annotation)


def test_configure_converts_and_keeps_defaults():
    """Options come as texts or as values."""
    config = configure(Config, {"topk": "64", "words": "a,b", "rate": 1, "hidden": "yes"}, OWNER)

    assert config == Config(topk=64, words=("a", "b"), rate=1.0, hidden=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"top_k": 64},
            "The optimizer 'gcg' has no option 'top_k'. Did you mean 'topk'? "
            "It has topk, rate, text, mode, words, hidden.",
        ),
        (
            {"topk": "many"},
            "The optimizer 'gcg' cannot take topk='many', which is not a whole number. "
            "topk (int, default 256): Tokens kept.",
        ),
        (
            {"topk": 0},
            "The optimizer 'gcg' cannot take topk=0: it must be >= 1. topk (int, default 256): Tokens kept.",
        ),
        (
            {"mode": "beem"},
            "The optimizer 'gcg' cannot take mode='beem', which is not greedy or beam. "
            "mode (greedy or beam, default greedy).",
        ),
        ({"derived": 4}, "The optimizer 'gcg' has no option 'derived'."),
    ],
)
def test_refusals_are_sentences(options, message):
    """Each names the value, the rule and what the option is for."""
    with pytest.raises(OptionError) as caught:
        configure(Config, options, OWNER)

    assert str(caught.value).startswith(message)


def test_validators_of_plugins_may_say_anything():
    """An exception without the field's name is quoted with the options that were given."""

    @attrs.frozen(kw_only=True)
    class Odd:
        width: int = attrs.field(default=1)

        @width.validator
        def _odd(self, _attribute, value):
            if value % 2 == 0:
                raise ValueError("only odd widths have a middle")

    with pytest.raises(OptionError, match=r"cannot take width=2: only odd widths have a middle\."):
        configure(Odd, {"width": "2"}, OWNER)


def test_errors_of_our_own_pass_through():
    """A validator that raises a Preimage error has said what it wants to say."""

    @attrs.frozen(kw_only=True)
    class Strict:
        words: int = attrs.field(default=0)

        @words.validator
        def _check(self, _attribute, value):
            if value:
                raise ConstraintError("no word is left")

    with pytest.raises(ConstraintError, match="no word is left"):
        configure(Strict, {"words": 1}, OWNER)


def test_required_options_are_asked_for():
    """A field without default must be given."""

    @attrs.frozen(kw_only=True)
    class Needy:
        path: Path = attrs.field(metadata={"help": "Where the data are."})

    with pytest.raises(OptionError, match=r"needs a value for path \(path, required\): Where the data are\."):
        configure(Needy, {}, OWNER)


def test_annotations_for_type_checkers_only_do_not_disturb_the_others():
    """Names under TYPE_CHECKING cannot be looked up; their fields take values as they are."""

    @attrs.frozen(kw_only=True)
    class Partly:
        known: int = 0
        unknown: Nothing | None = None

    assert configure(Partly, {"known": "3", "unknown": "x"}, OWNER) == Partly(known=3, unknown="x")


def test_nested_records_come_from_tables():
    """A recipe may hold a table where a config holds a record."""

    @attrs.frozen(kw_only=True)
    class Outer:
        inner: Config = Config()

    globals()["Outer"] = Outer  # annotations are looked up in the module

    assert configure(Outer, {"inner": {"topk": "5"}}, OWNER).inner.topk == 5


def test_options_of():
    """Tables get names, types in words, defaults as they would be typed, and the help."""
    options = {option.name: option for option in options_of(Config)}

    assert list(options) == ["topk", "rate", "text", "mode", "words", "hidden"]
    assert str(options["topk"]) == "topk (int, default 256): Tokens kept."
    assert (options["text"].type, options["text"].default) == ("text or none", "none")
    assert (options["mode"].type, options["words"].type) == ("greedy or beam", "text, text, …")
    assert options["hidden"].default == "false"


def test_a_config_must_be_an_attrs_class():
    """The plugin is at fault, not the user."""
    with pytest.raises(PluginError, match="not an attrs class"):
        configure(dict, {}, OWNER)
