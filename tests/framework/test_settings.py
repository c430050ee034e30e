"""What users decide once for all commands."""

from __future__ import annotations

import pytest

from preimage.errors import InputError, OptionError
from preimage.settings import Settings, read_settings


@pytest.fixture
def read(tmp_path):
    def read(text, **environment):
        (tmp_path / "preimage.toml").write_text(text, encoding="utf-8")
        return read_settings(environment, str(tmp_path))

    return read


def test_without_a_file_everything_is_allowed(tmp_path):
    """Nothing needs to be configured."""
    assert read_settings({}, str(tmp_path)) == Settings()


def test_all_tables(read, tmp_path):
    """Names of distributions are normalised, the rest is plain data."""
    settings = read(
        """
        [plugins]
        allow = ["Preimage_GCG", "acme:metric"]
        deny = ["bad.plugin"]
        [prefer]
        "optimizer:gcg" = "Preimage_GCG"
        [defaults]
        model = "miniworld:clip"
        [observers]
        tensorboard = "runs"
        """
    )

    assert settings.allow == ("preimage-gcg", "acme:metric")
    assert settings.deny == ("bad-plugin",)
    assert dict(settings.prefer) == {"optimizer:gcg": "preimage-gcg"}
    assert dict(settings.defaults) == {"model": "miniworld:clip"}
    assert dict(settings.observers) == {"tensorboard": "runs"}
    assert settings.source == str(tmp_path / "preimage.toml")


def test_environment_replaces_the_lists_of_the_file(read):
    """One command can be run with other plugins."""
    settings = read('[plugins]\nallow = ["a"]\ndeny = ["b"]\n', PREIMAGE_ALLOW="c, D_e", PREIMAGE_DENY="")

    assert (settings.allow, settings.deny) == (("c", "d-e"), ())


def test_environment_replaces_what_observers_are_told(read):
    """One command can be watched without a file."""
    settings = read('[observers]\ntensorboard = "runs"\n', PREIMAGE_OBSERVERS=" tensorboard=other, acme = x=y ")

    assert dict(settings.observers) == {"tensorboard": "other", "acme": "x=y"}


@pytest.mark.parametrize("text", ["tensorboard", "tensorboard=", "=runs"])
def test_an_observer_that_is_told_nothing_is_a_mistake(text):
    """It would look as if it had been asked."""
    with pytest.raises(OptionError, match="not of the form name=value: write tensorboard=runs"):
        read_settings({"PREIMAGE_OBSERVERS": text})


def test_file_named_by_the_environment_comes_before_the_one_in_the_folder(read, tmp_path):
    """PREIMAGE_CONFIG is for settings that are shared between projects."""
    (tmp_path / "shared.toml").write_text('[defaults]\ndevice = "cuda"\n')

    settings = read('[defaults]\ndevice = "cpu"\n', PREIMAGE_CONFIG=str(tmp_path / "shared.toml"))

    assert dict(settings.defaults) == {"device": "cuda"}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[plugin]\n", OptionError, "'plugin', which is not a table of the settings. Did you mean 'plugins'?"),
        ("[plugins]\nalow = []\n", OptionError, r"'alow' in \[plugins\], which does not exist. Did you mean 'allow'"),
        ("[defaults]\nmodle = 'x'\n", OptionError, "Did you mean 'model'"),
        ("[plugins]\nallow = 'gcg'\n", OptionError, "allow = 'gcg' .* takes a list of names"),
        ("[plugins]\ndeny = [1]\n", OptionError, "takes a list of names"),
        ("[defaults]\ndevice = 0\n", OptionError, "device = 0 .* takes a text"),
        ("plugins = 3\n", OptionError, "plugins is a table"),
        ("[prefer]\ngcg = 'preimage-gcg'\n", OptionError, "not of the form kind:name"),
        ("[plugins\n", InputError, "is not TOML .*line 1"),
    ],
)
def test_mistakes_are_sentences(read, text, error, message):
    """Unknown keys are errors, with the nearest name."""
    with pytest.raises(error, match=message):
        read(text)


def test_missing_file_that_was_named(tmp_path):
    """Naming a file that does not exist is not the same as having none."""
    with pytest.raises(InputError, match="cannot be read.*unset PREIMAGE_CONFIG"):
        read_settings({"PREIMAGE_CONFIG": str(tmp_path / "none.toml")})


def test_file_that_is_not_utf8(tmp_path):
    """The message names the file."""
    (tmp_path / "preimage.toml").write_bytes(b"[defaults]\nmodel = '\xff'\n")

    with pytest.raises(InputError, match=r"preimage\.toml is not TOML"):
        read_settings({}, str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "excluded"),
    [
        (Settings(), False),
        (Settings(deny=("acme",)), True),
        (Settings(deny=("acme:metric",)), True),
        (Settings(deny=("acme:other",)), False),
        (Settings(allow=()), True),
        (Settings(allow=("acme",)), False),
        (Settings(allow=("acme",), deny=("acme",)), True),
    ],
)
def test_exclusion(settings, excluded):
    """Denial beats permission; an empty list of permissions permits nothing."""
    assert (settings.exclusion("acme", "metric") is not None) is excluded
