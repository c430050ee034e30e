"""Pipelines written down and read again."""

import pytest

from preimage import Budget, Pipeline, Stage, Term
from preimage.errors import AssemblyError, InputError
from preimage.search_space import Constraints

PIPELINE = Pipeline(
    stages=[
        Stage(optimizer="random-search", budget=Budget(max_candidates=500), options={"prompt_length": 6}),
        Stage(optimizer="gcg", budget=Budget(num_steps=20, patience=5), options={"topk": 64}),
    ],
    terms=[
        Term(objective="clip-similarity", model="miniworld:clip", template="an image of {optim_str}"),
        Term(objective="text-similarity", model="miniworld:clip", weight=0.5, targets=["a red circle"]),
    ],
    constraints=Constraints(banned_words=("photo",)),
    budget=Budget(max_passes=9000, max_seconds=60),
    batch_size=128,
)

YAML = """
stages:
  - {optimizer: random-search, budget: {max_candidates: 500}, options: {prompt_length: 6}}
  - {optimizer: gcg, budget: {num_steps: 20, patience: 5}, options: {topk: 64}}
terms:
  - objective: clip-similarity
    model: miniworld:clip
    template: "an image of {optim_str}"
  - objective: text-similarity
    model: miniworld:clip
    weight: 0.5
    targets: [a red circle]
constraints:
  banned_words: [photo]
budget: {max_passes: 9000, max_seconds: 60}
batch_size: 128
"""

TOML = """
batch_size = 128
budget = { max_passes = 9000, max_seconds = 60 }
constraints.banned_words = ["photo"]
[[stages]]
optimizer = "random-search"
budget.max_candidates = 500
options.prompt_length = 6
[[stages]]
optimizer = "gcg"
budget = {num_steps = 20, patience = 5}
options.topk = 64
[[terms]]
objective = "clip-similarity"
model = "miniworld:clip"
template = "an image of {optim_str}"
[[terms]]
objective = "text-similarity"
model = "miniworld:clip"
weight = 0.5
targets = ["a red circle"]
"""


def test_a_pipeline_survives_being_written_down():
    """As plain data, without what has its default value."""
    data = PIPELINE.to_dict()
    assert Pipeline.from_dict(data) == PIPELINE
    assert "device" not in data
    assert data["stages"][1] == {
        "optimizer": "gcg",
        "budget": {"num_steps": 20, "patience": 5},
        "options": {"topk": 64},
    }


@pytest.mark.parametrize(("name", "text"), [("recipe.yaml", YAML), ("recipe.yml", YAML), ("recipe.toml", TOML)])
def test_yaml_and_toml_say_the_same(tmp_path, name, text):
    """By the file's name."""
    (tmp_path / name).write_text(text)
    assert Pipeline.load(tmp_path / name) == PIPELINE


def test_a_weight_that_yaml_takes_for_a_text_is_a_number(tmp_path):
    """Without a point, 5e-1 is a text to YAML."""
    assert "weight: 0.5" in YAML
    (tmp_path / "recipe.yaml").write_text(YAML.replace("weight: 0.5", "weight: 5e-1"))
    assert Pipeline.load(tmp_path / "recipe.yaml") == PIPELINE


def test_a_group_of_targets_survives_being_written_down():
    """Files know lists only, and a target that is one is a group."""
    term = Term(objective="text-similarity", model="miniworld:clip", targets=[("a red circle", "a star"), "a square"])
    pipeline = Pipeline(stages=PIPELINE.stages, terms=[term])
    assert Pipeline.from_dict(pipeline.to_dict()) == pipeline


def test_a_live_object_cannot_be_written_down():
    """The message says where it stands."""
    pipeline = Pipeline(stages=[Stage(optimizer=object(), budget=Budget(num_steps=1))], terms=PIPELINE.terms)
    with pytest.raises(AssemblyError, match="Stage.optimizer is a live object"):
        pipeline.to_dict()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("stages:", "stage:"), "'stages' is None; it must be a list"),
        (
            ("  - {optimizer: gcg", "  - {optimiser: gcg"),
            "A stage of the recipe has no 'optimiser'. Did you mean 'optimizer'",
        ),
        (("budget: {max_candidates: 500}, ", ""), "A stage of the recipe lacks budget"),
        (("num_steps: 20", "num_step: 20"), "A budget of the recipe has no 'num_step'. Did you mean 'num_steps'"),
        (("batch_size", "batchsize"), "The recipe has no 'batchsize'"),
        (("    weight: 0.5", "    wait: 0.5"), "A term of the recipe has no 'wait'. Did you mean 'weight'"),
        (("an image of {optim_str}", "an image of"), "has no slot"),
        (("num_steps: 20", "num_steps: 0"), "num_steps=0 allows nothing"),
        (("weight: 0.5", "weight: heavy"), "A term has the weight 'heavy', which is not a number"),
        (("weight: 0.5", "weight: .nan"), "A term has the weight nan, which is not a number"),
        (("targets: [a red circle]", "targets: a red circle"), "'a red circle', which are not a list: give a list"),
        (("stages:", "stages: [}"), "cannot be understood"),
        (("stages:\n", "stages: 5\nx:\n"), "'stages' is 5; it must be a list"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_a_sentence(tmp_path, change, sentence):
    """It names the part and what it could hold."""
    assert change[0] in YAML
    (tmp_path / "recipe.yaml").write_text(YAML.replace(*change))
    with pytest.raises(ValueError, match=sentence):
        Pipeline.load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("recipe.txt", "", "its name ends in '.txt'"),
        ("recipe.yaml", "- 1", "holds a list"),
        ("recipe.toml", "= 3", "cannot be understood"),
        ("recipe.yaml", None, "cannot be read"),
        ("recipe.yaml", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe_is_a_sentence(tmp_path, name, content, sentence):
    """With the path in it."""
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=sentence):
        Pipeline.load(tmp_path / name)
