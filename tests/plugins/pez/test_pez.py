"""PEZ: where it starts, what it asks, how it moves, and what it finds."""

from __future__ import annotations

import attrs
import pytest
import torch

from preimage import Budget, Catalogue, Pipeline, Stage, Term
from preimage.api import Gradients, Optimizer
from preimage.errors import ConstraintError, OptionError
from preimage.loop import advance, begin
from preimage.start import random_ids
from preimage.track import Track
from preimage_miniworld.data import held_out
from preimage_pez import PEZ, PEZConfig, PEZState
from preimage_pez.projection import project


def generators(count=1, seed=0):
    return tuple(torch.Generator().manual_seed(seed) for _ in range(count))


def fields_of(state):
    return {field.name: getattr(state, field.name) for field in attrs.fields(type(state))}


def assert_same(left, right):
    for name, value in fields_of(left).items():
        other = getattr(right, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def finish(step, answer):
    """Return the state that a step ends with after its only answer."""
    with pytest.raises(StopIteration) as stop:
        step.send(answer)
    return stop.value.value


def answer_to(toy, request):
    evaluation = toy.problem.losses_and_gradients(request.candidates, request.run)
    return evaluation.losses, evaluation.gradient


def test_it_is_a_rowwise_optimizer_that_asks_for_gradients():
    """It follows the contract and says what it requires."""
    optimizer = PEZ(PEZConfig())

    assert isinstance(optimizer, Optimizer)
    assert optimizer.requires == {"gradient"}
    assert optimizer.rowwise
    assert optimizer.State is PEZState


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_of_all_two_token_prompts(words, seed):
    """With enough restarts it gets to the optimum that trying everything finds."""
    toy = words(20, seed=seed)
    losses = toy.every_loss(2)
    best = toy.search(PEZ(PEZConfig(prompt_length=2, restarts=16)), 60, seed).tracks[0].best

    assert best.loss == pytest.approx(min(losses.values()), rel=1e-6)
    assert best.ids == min(losses, key=losses.get)


@pytest.mark.parametrize("seed", range(3))
def test_it_gets_further_than_as_many_random_prompts(words, seed):
    """Where there are too many prompts to try, its loss is less than half of what blind tries of equal number find."""
    toy = words(200, seed=seed)
    track = toy.search(PEZ(PEZConfig(prompt_length=8, restarts=4)), 50, seed).tracks[0]
    blind = torch.randint(200, (track.spent.candidates, 8), generator=torch.Generator().manual_seed(seed))
    losses = toy.problem.losses(blind, torch.zeros(len(blind), dtype=torch.int64)).losses

    assert track.best.loss < losses.min() / 2


def test_a_step_asks_once_about_every_restart_of_every_run(words):
    """One request, nothing but gradients, with the run of each row."""
    toy = words(30, n_targets=3)
    optimizer = PEZ(PEZConfig(prompt_length=4, restarts=2))
    state = optimizer.start(toy.space, generators(3), (None,) * 3)
    step = optimizer.step(toy.space, state, generators(3))
    request = next(step)

    assert isinstance(request, Gradients)
    assert torch.equal(request.candidates, state.ids.flatten(0, 1))
    assert request.run.tolist() == [0, 0, 1, 1, 2, 2]
    assert finish(step, answer_to(toy, request)).step == 1


def test_it_asks_again_where_no_token_has_changed(words):
    """Embeddings move although the projection stays, so the gradient is asked for anew."""
    toy = words(30)
    optimizer = PEZ(PEZConfig(prompt_length=4, lr=1e-6))
    state = optimizer.start(toy.space, generators(), (None,))
    for _ in range(2):
        step = optimizer.step(toy.space, state, generators())
        moved = finish(step, answer_to(toy, next(step)))
        assert torch.equal(moved.ids, state.ids)
        assert not torch.equal(moved.embeddings, state.embeddings)
        state = moved


def test_the_gradient_at_the_projection_moves_the_embeddings(words):
    """Ten steps equal a plain loop over rows with torch's AdamW, whose gradient is taken at the projected tokens."""
    toy = words(30, n_targets=2)
    optimizer = PEZ(PEZConfig(prompt_length=4, restarts=2, lr=0.3, lr_schedule="linear", decay_steps=20))
    (search,) = searches = toy.begin(optimizer, 3)
    start = search.state
    advance(toy.problem, optimizer, searches, Budget(num_steps=10))

    for run in range(2):
        for restart in range(2):
            embeddings = torch.nn.Parameter(start.embeddings[run, restart].clone())
            slow = torch.optim.AdamW([embeddings], lr=0.3, weight_decay=0.1)
            for step in range(10):
                ids = project(toy.space, embeddings.detach())
                answer = toy.problem.losses_and_gradients(ids[None], torch.tensor([run]))
                slow.param_groups[0]["lr"] = 0.3 * (1 - step / 20)
                embeddings.grad = answer.gradient[0]
                slow.step()
            torch.testing.assert_close(search.state.embeddings[run, restart], embeddings.detach())
            torch.testing.assert_close(search.state.losses[run, restart], answer.losses[0])
            assert torch.equal(search.state.ids[run, restart], project(toy.space, embeddings.detach()))


def test_current_is_the_restart_of_lowest_last_loss(words):
    """Each run tells one prompt: of the restart that did best when it was last asked about."""
    toy = words(30, n_targets=2)
    optimizer = PEZ(PEZConfig(prompt_length=4, restarts=3))
    state = optimizer.start(toy.space, generators(2), (None,) * 2)
    assert torch.equal(state.current, state.ids[:, 0])

    step = optimizer.step(toy.space, state, generators(2))
    next(step)
    moved = finish(step, (torch.tensor([3.0, 1.0, 2.0, 5.0, 6.0, 4.0]), torch.zeros(6, 4, 6)))
    assert torch.equal(moved.current, torch.stack([moved.ids[0, 1], moved.ids[1, 2]]))


def test_the_first_restart_begins_where_it_is_told_and_the_others_at_random(words):
    """An earlier stage's ids win over the start text, and that over random tokens; all are equally long."""
    toy = words(30, n_targets=2)
    optimizer = PEZ(PEZConfig(optim_str_init="w1 w2 w3", prompt_length=7, restarts=3))
    text = optimizer.start(toy.space, generators(2), (None,) * 2)
    given = optimizer.start(toy.space, generators(2), (torch.tensor([4, 5]), torch.tensor([6, 7])))

    assert text.current.tolist() == [[1, 2, 3]] * 2
    assert text.ids.shape == (2, 3, 3)
    assert given.current.tolist() == [[4, 5], [6, 7]]
    assert len(set(map(tuple, given.ids[0].tolist()))) == 3
    assert torch.equal(given.embeddings, toy.space.embedding[given.ids])
    assert PEZ(PEZConfig()).start(toy.space, generators(), (None,)).ids.shape == (1, 1, 16)


def test_restarts_are_drawn_by_the_run_that_they_belong_to(words):
    """A run of many has the restarts that it has alone, whatever its neighbours begin with."""
    toy = words(30, n_targets=3)
    optimizer = PEZ(PEZConfig(prompt_length=4, restarts=3))
    rngs = tuple(torch.Generator().manual_seed(seed) for seed in (5, 6, 7))
    together = optimizer.start(toy.space, rngs, (None, torch.tensor([1, 2, 3, 4]), None))
    for run, initial in enumerate((None, torch.tensor([1, 2, 3, 4]), None)):
        alone = optimizer.start(toy.space, generators(seed=5 + run), (initial,))
        assert torch.equal(together.ids[run], alone.ids[0])


@pytest.mark.parametrize("options", [{}, {"restarts": 3, "lr_schedule": "cosine", "decay_steps": 8}])
def test_runs_in_company_take_the_path_of_runs_alone(words, options):
    """Three targets in one batch end where each ends by itself, prompts, losses and best."""
    optimizer = PEZ(PEZConfig(prompt_length=4, **options))
    toy = words(30, n_targets=3)
    (together,) = toy.begin(optimizer, 5)
    advance(toy.problem, optimizer, [together], Budget(num_steps=12))
    for target in range(3):
        toy = words(30, n_targets=3)
        (single,) = begin(toy.problem, optimizer, [Track(target)], 5)
        advance(toy.problem, optimizer, [single], Budget(num_steps=12))

        assert torch.equal(together.state.ids[target], single.state.ids[0])
        # Sums over a larger batch may be rounded differently.
        torch.testing.assert_close(together.state.embeddings[target], single.state.embeddings[0])
        assert together.tracks[target].best.ids == single.tracks[0].best.ids
        assert together.tracks[target].spent.candidates == single.tracks[0].spent.candidates


def test_banned_tokens_are_never_asked_about(words):
    """Not even where the start is made of them."""
    toy = words(30, banned_words=tuple(f"w{index}" for index in range(10)))
    optimizer = PEZ(PEZConfig(optim_str_init="w1 w20 w3", restarts=4, lr=0.5))
    rngs = generators()
    state = optimizer.start(toy.space, rngs, (None,))
    assert state.ids[0, 0, 1] == 20
    for _ in range(20):
        step = optimizer.step(toy.space, state, rngs)
        request = next(step)
        assert toy.space.allowed[request.candidates].all()
        state = finish(step, answer_to(toy, request))


def test_gradients_of_zero_are_survived(words):
    """Where the objective is flat the embeddings only decay, and stay numbers."""
    toy = words(30)
    optimizer = PEZ(PEZConfig(prompt_length=4))
    state = optimizer.start(toy.space, generators(), (None,))
    for _ in range(5):
        step = optimizer.step(toy.space, state, generators())
        next(step)
        state = finish(step, (torch.zeros(1), torch.zeros(1, 4, toy.space.embedding.shape[1])))

    assert state.embeddings.isfinite().all()
    torch.testing.assert_close(state.embeddings, toy.space.embedding[state.ids] * 0.99**5)


def test_half_precision_gradients_move_embeddings_in_single(words):
    """Embeddings and moments are kept in single precision, however coarse the model's numbers are."""
    toy = words(30)
    toy.space.tokens.embedding = toy.space.embedding.to(torch.bfloat16)
    optimizer = PEZ(PEZConfig(prompt_length=4))
    state = optimizer.start(toy.space, generators(), (None,))
    step = optimizer.step(toy.space, state, generators())
    next(step)
    moved = finish(step, (torch.zeros(1), torch.ones(1, 4, toy.space.embedding.shape[1], dtype=torch.bfloat16)))

    assert {moved.embeddings.dtype, moved.first_moment.dtype, moved.second_moment.dtype} == {torch.float32}


def test_it_is_done_where_no_other_prompt_exists(words):
    """With one allowed token the only prompt is the last; with two there is always another."""
    single = words(5, allowed_words=("w2",))
    assert PEZ(PEZConfig()).start(single.space, generators(), (None,)).done
    assert single.search(PEZ(PEZConfig(prompt_length=2)), 5).tracks[0].best.text == "w2 w2"
    assert not words(5, allowed_words=("w2", "w3")).search(PEZ(PEZConfig(prompt_length=2)), 5).state.done


@pytest.mark.parametrize("lr_schedule", ["cosine", "linear"])
def test_it_is_done_once_the_rate_is_zero_and_the_last_prompts_are_scored(words, lr_schedule):
    """The step at decay_steps asks for the last time and moves nothing."""
    toy = words(30)
    optimizer = PEZ(PEZConfig(prompt_length=4, lr_schedule=lr_schedule, decay_steps=6))
    (search,) = searches = toy.begin(optimizer)
    advance(toy.problem, optimizer, searches, Budget(num_steps=6))
    before = search.state
    search.tracks[0].stop_reason = None
    advance(toy.problem, optimizer, searches, Budget(num_steps=20))

    assert search.tracks[0].stop_reason == "done"
    assert search.state.step == 7
    assert torch.equal(search.state.embeddings, before.embeddings)


def test_the_rate_falls_as_it_is_told():
    """Constant, straight and along half a cosine, from lr to zero and never below."""
    rates = {
        name: [PEZConfig(lr=0.2, lr_schedule=name, decay_steps=decay).learning_rate(step) for step in (0, 1, 2, 4, 9)]
        for name, decay in (("constant", None), ("linear", 4), ("cosine", 4))
    }

    assert rates["constant"] == [0.2] * 5
    assert rates["linear"] == pytest.approx([0.2, 0.15, 0.1, 0, 0])
    assert rates["cosine"] == pytest.approx([0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0, 0])
    assert rates["cosine"][-2:] == [0, 0]


@pytest.mark.parametrize("options", [{}, {"restarts": 3, "lr_schedule": "linear", "decay_steps": 30}])
def test_ten_steps_equal_five_and_five_from_saved_fields(words, options, tmp_path):
    """A state rebuilt from its fields goes on exactly as the one it was taken from."""
    optimizer = PEZ(PEZConfig(prompt_length=4, **options))
    straight = words(30, n_targets=2)
    (whole,) = straight.begin(optimizer)
    advance(straight.problem, optimizer, [whole], Budget(num_steps=10))

    toy = words(30, n_targets=2)
    (search,) = toy.begin(optimizer)
    advance(toy.problem, optimizer, [search], Budget(num_steps=5))
    torch.save(fields_of(search.state), tmp_path / "state")
    search.state = PEZState(**torch.load(tmp_path / "state", weights_only=True))
    for track in search.tracks:
        track.stop_reason = None
    advance(toy.problem, PEZ(optimizer.config), [search], Budget(num_steps=10))

    assert_same(search.state, whole.state)


def test_states_are_immutable(words):
    """A step returns a new state and leaves the old one as it was."""
    toy = words(30)
    search = toy.search(PEZ(PEZConfig(prompt_length=4, restarts=2)), 3)
    old = search.state
    copy = {name: value.clone() if torch.is_tensor(value) else value for name, value in fields_of(old).items()}
    search.tracks[0].stop_reason = None
    advance(toy.problem, PEZ(PEZConfig(prompt_length=4, restarts=2)), [search], Budget(num_steps=6))

    assert_same(old, PEZState(**copy))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        old.done = True


def test_unstable_projections_are_scored_as_the_text_they_are_read_as(letters):
    """The search passes through prompts that read back otherwise; the best one never does."""
    toy = letters(["fa", "bf", "cf", "fd"])
    optimizer = PEZ(PEZConfig(prompt_length=4, restarts=4, lr=0.5))
    (search,) = searches = toy.begin(optimizer)
    unstable = 0
    for num_steps in range(1, 21):
        unstable += int((~toy.space.is_stable(search.state.ids[0])).sum())
        advance(toy.problem, optimizer, searches, Budget(num_steps=num_steps))
        search.tracks[0].stop_reason = None
        best = search.tracks[0].best
        assert toy.space.encode([best.text]) == [list(best.ids)]
        assert toy.problem.score_texts([best.text], torch.tensor([0])).losses[0] == pytest.approx(best.loss, abs=1e-9)

    assert unstable


def test_several_pictures_are_searched_for_in_one_batch():
    """On a trained CLIP each picture's loss falls well below its start's, and equals that of the picture alone."""
    pictures = [picture for _, picture, _ in held_out(3, seed=0)]

    def search(targets):
        stage = Stage(
            optimizer="pez", budget=Budget(num_steps=40), options={"prompt_length": 6, "restarts": 2, "lr": 0.3}
        )
        pipeline = Pipeline(stages=[stage], terms=[Term(objective="clip-similarity", model="miniworld:clip")])
        return pipeline.run(targets, seed=1)

    together = search(pictures)
    for result in together:
        assert result.loss < result.trajectory[0].loss - 0.05
        assert result.spent.candidates == 80
    (alone,) = search(pictures[1:2])
    assert alone.text == together[1].text
    assert alone.loss == pytest.approx(together[1].loss, abs=1e-5)


def test_starts_of_different_lengths_are_refused(words):
    """The message tells the lengths and what to do."""
    toy = words(30, n_targets=2)
    with pytest.raises(ConstraintError, match="have 2, 3 tokens.*by itself"):
        PEZ(PEZConfig()).start(toy.space, generators(2), (torch.tensor([4, 5]), torch.tensor([6, 7, 8])))


def test_a_prompt_longer_than_the_model_reads_is_refused(words):
    """The room that there is, is told."""
    with pytest.raises(ConstraintError, match="has 17 tokens, but toy has room for 16"):
        PEZ(PEZConfig(prompt_length=17)).start(words(30).space, generators(), (None,))


@pytest.mark.parametrize(
    ("options", "words_of_message"),
    [
        ({"lr_schedule": "cosine"}, "nothing says when lr reaches zero: set decay_steps"),
        ({"decay_steps": 9}, "decay_steps is 9 and lr_schedule 'constant'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words_of_message):
    """The message names both options and what to change."""
    with pytest.raises(OptionError, match=words_of_message):
        PEZConfig(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("restarts", 0),
        ("prompt_length", 0),
        ("decay_steps", 0),
        ("lr", 0),
        ("lr", -1),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("lr_schedule", "exponential"),
    ],
)
def test_options_out_of_range_are_refused_by_name(name, value):
    """From names and texts, too, the error is one sentence about the option."""
    with pytest.raises(OptionError, match=name) as caught:
        Catalogue().build("optimizer", "pez", **{name: value})
    assert "Traceback" not in str(caught.value)


def test_random_starts_are_those_of_the_shared_start(words):
    """The first restart of a run is what every other optimizer starts from with that seed."""
    toy = words(30)
    state = PEZ(PEZConfig(prompt_length=5)).start(toy.space, generators(seed=3), (None,))

    assert torch.equal(state.current[0], random_ids(toy.space, *generators(seed=3), 5))
