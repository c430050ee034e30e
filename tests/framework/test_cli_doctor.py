"""What the doctor finds beyond broken plugins."""

from __future__ import annotations

import json

import pytest

PLUGIN = (
    "from preimage.api import Component, Finding, hookimpl\n"
    "@hookimpl\n"
    "def provide_optimizers():\n"
    "    return (Component('fast', 'json:loads', 'acme_config:Config', '1.0', 'For tests.'),)\n"
)
CONFIG = "import attrs\n@attrs.frozen(kw_only=True)\nclass Config:\n    width: int = 3\n"


@pytest.fixture
def bad(site):
    """Run the doctor and return its bad findings about acme, by check."""

    def bad(*arguments):
        done = site.run("doctor", "--json", *arguments, PREIMAGE_ALLOW="acme")
        found = [finding for finding in json.loads(done.stdout) if not finding["ok"]]
        assert done.returncode == (1 if found else 0)
        return {finding["check"]: finding for finding in found}

    return bad


def test_nothing_is_wrong_with_a_good_plugin(site, bad):
    """Its state, its options, its target and its weight are all looked at."""
    site.add("acme", PLUGIN, files={"acme_config.py": CONFIG})

    assert not [check for check in bad() if "acme" in check]
    assert "start-up cost of acme:main" in site.run("doctor", PREIMAGE_ALLOW="acme").stdout


def test_heavy_plugins(site, bad):
    """A light module that imports numpy makes every command slow."""
    site.add("acme", "import numpy\n" + PLUGIN, files={"acme_config.py": CONFIG, "numpy.py": ""})

    finding = bad()["start-up cost of acme:main"]

    assert "because acme imports numpy" in finding["detail"]


def test_duplicate_and_stale_metadata(site, bad):
    """An old folder beside the new one may win elsewhere."""
    site.add("acme", PLUGIN, version="2.0", files={"acme_config.py": CONFIG})
    site.add("acme", PLUGIN, version="1.0", suffix="egg-info")

    finding = bad()["duplicate metadata"]

    assert "acme-1.0.egg-info" in finding["detail"]
    assert "is hidden by" in finding["detail"]


def test_entry_points_edited_after_an_editable_install(site, bad, tmp_path):
    """The metadata of an editable install is a snapshot."""
    source = tmp_path / "with space"
    source.mkdir()
    (source / "pyproject.toml").write_text('[project.entry-points."preimage.plugins"]\nother = "acme"\n')
    home = site.add("acme", PLUGIN, files={"acme_config.py": CONFIG})
    (home / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))

    finding = bad()["editable acme"]

    assert "declares {'other': 'acme'}, the installation recorded {'main': 'acme'}" in finding["detail"]
    assert finding["remedy"] == f"pip install -e {source}"


def test_options_that_cannot_be_imported(site, bad):
    """Found before somebody asks for them."""
    site.add("acme", PLUGIN)

    assert "No module named 'acme_config'" in bad()["optimizer acme/fast"]["detail"]


@pytest.mark.parametrize(
    ("target", "arguments", "detail"),
    [
        ("no_such_module:Target", (), "no_such_module:Target, but there is no such module"),
        ("json:no_such_name", (), None),
        ("json:no_such_name", ("--load",), "json has no 'no_such_name'"),
    ],
)
def test_targets_that_cannot_be_imported(site, bad, target, arguments, detail):
    """Looked for always, imported when asked to."""
    site.add("acme", PLUGIN.replace("json:loads", target), files={"acme_config.py": CONFIG})

    found = bad(*arguments).get("optimizer acme/fast")

    assert (found is None) if detail is None else (detail in found["detail"])


def test_findings_of_plugins(site, bad):
    """What a plugin says about its surroundings is said under its name."""
    site.add(
        "acme",
        PLUGIN + "@hookimpl\ndef check_installation(): return (Finding('weights', False, 'missing', 'get them'),)\n",
        files={"acme_config.py": CONFIG},
    )

    assert bad()["acme: weights"] == {"check": "acme: weights", "ok": False, "detail": "missing", "remedy": "get them"}


def test_preferences_for_what_is_not_installed(site, bad):
    """They decide nothing and are easily forgotten."""
    (site.cwd / "preimage.toml").write_text('[prefer]\n"optimizer:fast" = "gone"\n')
    site.add("acme", PLUGIN, files={"acme_config.py": CONFIG})

    assert "[prefer] names gone for optimizer:fast" in bad()["settings"]["detail"]
