"""Whether the pieces fit, said before torch is imported."""

import subprocess
import sys

import pytest

from preimage import Budget, Catalogue, Component, Pipeline, Stage, Term
from preimage.assembly import check
from preimage.errors import AssemblyError, UnknownNameError
from preimage.settings import Settings


@pytest.fixture
def catalogue():
    """A catalogue of records whose targets do not even exist: assembly must not import them."""
    catalogue = Catalogue(Settings(), path=())

    def add(kind, name, *traits):
        record = Component(
            name=name,
            target="nowhere:Target",
            config="preimage.start:TextStart",
            api="1.0",
            summary="A record.",
            traits=traits,
        )
        catalogue.register(kind, record, origin="records")

    add("optimizer", "gcg", "space:text", "requires:gradient")
    add("optimizer", "random-search", "space:text")
    add("optimizer", "autodan", "space:text", "requires:gradient", "requires:next-token")
    add("optimizer", "pull-back", "space:features")
    add("optimizer", "prune", "space:text", "start:required")
    add("objective", "clip-similarity", "space:text", "offers:gradient", "role:image-text-encoder")
    add("objective", "fluency", "space:text", "offers:gradient", "offers:next-token", "role:language-model")
    add("objective", "human-rating", "space:text")
    add("objective", "margin", "space:features", "offers:gradient")
    add("model", "open_clip", "role:image-text-encoder", "role:text-encoder")
    add("model", "hf", "role:language-model")
    return catalogue


def pipeline(optimizer, *terms):
    return Pipeline(stages=[Stage(optimizer=optimizer, budget=Budget(num_steps=1))], terms=list(terms))


CLIP = Term(objective="clip-similarity", model="open_clip:ViT-B-32/openai")


@pytest.mark.parametrize("optimizer", ["gcg", "random-search"])
def test_what_fits_is_let_through(catalogue, optimizer):
    """Nothing is imported on the way."""
    check(pipeline(optimizer, CLIP), catalogue)


def test_a_missing_gradient_names_what_would_do(catalogue):
    """The optimizers that need none."""
    with pytest.raises(
        AssemblyError, match="gcg needs gradients and human-rating offers values only: use random-search"
    ):
        check(pipeline("gcg", Term(objective="human-rating")), catalogue)


def test_a_missing_language_model_names_what_would_do(catalogue):
    """Another objective, or another optimizer."""
    with pytest.raises(AssemblyError, match="autodan needs to know what is likely to follow.*use gcg or random-search"):
        check(pipeline("autodan", CLIP), catalogue)


def test_texts_and_features_do_not_mix(catalogue):
    """The message names both."""
    with pytest.raises(AssemblyError, match="pull-back searches features, and clip-similarity.* is about text"):
        check(pipeline("pull-back", CLIP), catalogue)


def test_a_model_of_the_wrong_role_is_refused(catalogue):
    """The message says which role is needed."""
    with pytest.raises(
        AssemblyError, match="hf, which loads language-model, and clip-similarity needs image-text-encoder"
    ):
        check(pipeline("gcg", Term(objective="clip-similarity", model="hf:gpt2")), catalogue)


def test_an_objective_without_its_model_is_refused(catalogue):
    """The message says what to name."""
    with pytest.raises(AssemblyError, match=r"clip-similarity needs a model \(image-text-encoder\): name one"):
        check(pipeline("gcg", Term(objective="clip-similarity")), catalogue)


def test_a_second_tokenizer_needs_an_adapter_for_its_gradient(catalogue):
    """Losses alone go through text and need none."""
    fluency = Term(objective="fluency", model="hf:gpt2")
    with pytest.raises(AssemblyError, match="no adapter to carry its gradient to the tokens of open_clip:ViT-B-32"):
        check(pipeline("gcg", CLIP, fluency), catalogue)
    check(pipeline("random-search", CLIP, fluency), catalogue)


def test_an_unknown_name_is_met_with_the_nearest(catalogue):
    """Also before anything is imported."""
    with pytest.raises(UnknownNameError, match="no optimizer 'gcc'. Did you mean 'gcg'"):
        check(pipeline("gcc", CLIP), catalogue)


def test_a_pipeline_without_stages_or_terms_is_refused():
    """The message counts both."""
    with pytest.raises(AssemblyError, match="0 stages and 1 terms"):
        Pipeline(stages=[], terms=[CLIP])


def test_checking_imports_neither_torch_nor_numpy():
    """A mistake in a name or a combination is reported at once, not after ten seconds of imports."""
    code = """
import sys
from preimage.api import Component
from preimage.assembly import check
from preimage.budget import Budget
from preimage import Catalogue
from preimage.pipeline import Pipeline, Stage, Term
from preimage.settings import Settings
catalogue = Catalogue(Settings(), path=())
for kind, name in (("optimizer", "gcg"), ("objective", "brevity")):
    config = "preimage.start:TextStart"
    catalogue.register(kind, Component(name=name, target="a:B", config=config, api="1.0", summary="A record."))
stages = [Stage(optimizer="gcg", budget=Budget(num_steps=1))]
check(Pipeline(stages=stages, terms=[Term(objective="brevity")]), catalogue)
print(sorted({"torch", "numpy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_refines_needs_something_to_refine(catalogue):
    """A first stage that starts from nothing is refused at once; behind another, or with a text, it is let through."""

    def stages(*given):
        budget = Budget(num_steps=1)
        return Pipeline(stages=[Stage(optimizer=name, budget=budget, options=o) for name, o in given], terms=[CLIP])

    with pytest.raises(AssemblyError, match="prune refines a prompt, and nothing before it finds one.*'gcg -> prune'"):
        check(stages(("prune", {})), catalogue)
    check(stages(("prune", {"optim_str_init": "a red circle"})), catalogue)
    check(stages(("gcg", {}), ("prune", {})), catalogue)
