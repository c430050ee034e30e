"""Each measure of counterfactuals against a slow reference or an answer that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression

from preimage.api.events import Spent
from preimage.errors import InputError
from preimage_counterfactual import measures
from preimage_counterfactual.distances import L2, Joint, JointConfig, L2Config

NOTHING = [np.nan, np.nan, np.nan]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(80, 3)) @ np.diag([3.0, 1.0, 0.1])


@pytest.fixture
def queries(rows):
    return rows[:6]


@pytest.fixture
def answers(queries):
    """One for each query but the last, which has none."""
    made = queries + np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [1, 1, 0], [9, 9, 9], NOTHING])
    made[0] = queries[0] + [0.5, 0, 0]
    return made


def test_validity_holds_missing_answers_against_the_method():
    """What was not found is not valid; what a second model says is asked of answers only."""
    assert measures.validity(["yes", "no", None], ["yes"] * 3) == pytest.approx(1 / 3)
    assert measures.agreement(["yes", "no", None], ["yes"] * 3, [True, True, False]) == 0.5
    assert np.isnan(measures.agreement([0], [1], [False]))


def test_proximity_is_each_distance_by_name(rows, queries, answers):
    """Every fitted distance answers for each pair, missing answers give NaN."""
    labels = (rows[:, 0] > 0).astype(int)
    shared = Joint(JointConfig(classes="shared"))
    shared.fit(rows, labels)

    near = measures.proximity({"l2": L2(L2Config()), "shared": shared}, answers, queries, 1, 0)

    np.testing.assert_allclose(near["l2"][:5], np.linalg.norm(answers - queries, axis=1)[:5])
    assert np.isfinite(near["shared"][:5]).all()
    assert np.isnan([near["l2"][5], near["shared"][5]]).all()


def test_changed_columns_count_groups_once(queries, answers):
    """A move within the tolerance is none, a change of level is one, a missing answer is NaN."""
    np.testing.assert_array_equal(measures.changed_columns(answers, queries), [1, 1, 1, 2, 3, np.nan])
    grouped = measures.changed_columns(answers, queries, groups=[slice(0, 2)])
    np.testing.assert_array_equal(grouped, [1, 1, 1, 1, 2, np.nan])
    assert measures.changed_columns(queries + 1e-6, queries).sum() == 0


def test_neighbour_distance_is_the_mean_of_the_nearest(rows, answers):
    """Against sorting all distances."""
    expected = np.sort(np.linalg.norm(answers[:5, None] - rows, axis=2), axis=1)[:, :4].mean(axis=1)

    np.testing.assert_allclose(measures.neighbour_distance(answers, rows, 4)[:5], expected)


def test_neighbour_agreement_is_the_vote_of_the_nearest(rows, answers):
    """Against counting votes; a tie goes against the answer."""
    labels = (rows[:, 0] > 0).astype(int)
    order = np.argsort(np.linalg.norm(answers[:5, None] - rows, axis=2), axis=1)
    for count in (3, 4):
        votes = labels[order[:, :count]].sum(axis=1)

        agree = measures.neighbour_agreement(answers, rows, labels, np.ones(6), count)

        np.testing.assert_array_equal(agree[:5], votes * 2 > count)
        assert np.isnan(agree[5])


def test_local_outlier_factor_is_its_definition(rows, answers):
    """Against the mean local reachability density of neighbours over one's own, computed by loops."""
    count = 5

    def nearest(point, data):
        apart = np.linalg.norm(data - point, axis=1)
        order = np.argsort(apart)[:count]
        return order, apart[order]

    reach = [nearest(row, np.delete(rows, i, axis=0))[1][-1] for i, row in enumerate(rows)]

    def density(point, data, places):
        order, apart = nearest(point, data)
        return 1 / np.mean([max(reach[places[j]], d) for j, d in zip(order, apart, strict=True)])

    others = [np.delete(np.arange(80), i) for i in range(80)]
    own = [density(rows[i], rows[others[i]], others[i]) for i in range(80)]
    expected = [
        np.mean([own[j] for j in nearest(point, rows)[0]]) / density(point, rows, np.arange(80))
        for point in answers[:5]
    ]

    np.testing.assert_allclose(measures.local_outlier_factor(answers, rows, count)[:5], expected, rtol=1e-6)


def test_outliers_are_far_from_everything(rows, answers):
    """A point nine standard deviations off is one, rows of the data are none."""
    assert measures.outliers(answers, rows)[4] == 1
    assert measures.outliers(rows.mean(axis=0, keepdims=True), rows)[0] == 0
    assert np.isnan(measures.outliers(answers, rows)[5])


def test_log_density_is_a_mean_of_kernels(rows, answers):
    """Against Gaussians added up, with Scott's bandwidth."""
    bandwidth = rows.std(axis=0).mean() * 80 ** (-1 / 7)
    expected = [
        np.log(np.mean([multivariate_normal(row, bandwidth**2 * np.eye(3)).pdf(point) for row in rows]))
        for point in answers[:4]
    ]

    np.testing.assert_allclose(measures.log_density(answers, rows)[:4], expected)


def test_component_share_is_the_energy_along_the_leading_directions(rows, queries, answers):
    """A step along the column that varies most is all in, one along the least is all out."""
    share = measures.component_share(answers, queries, rows, 1)

    assert share[0] > 0.99
    assert share[2] < 0.01
    assert 0.3 < share[3] < 0.7
    assert np.isnan(share[5])
    assert np.isnan(measures.component_share(queries, queries, rows, 1)).all()
    with pytest.raises(InputError, match="leading 20 components of 3 columns tell no step from another"):
        measures.component_share(answers, queries, rows)


def test_diversity_is_the_mean_distance_of_each_two(queries):
    """Three corners of a right triangle are 3, 4 and 5 apart; one answer alone has none."""
    corners = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0]])
    sets = np.stack([corners, np.stack([corners[0], corners[1], NOTHING]), np.stack([corners[0], NOTHING, NOTHING])])

    np.testing.assert_allclose(measures.diversity(sets), [4, 3, np.nan])
    np.testing.assert_allclose(measures.diversity(sets, L2(L2Config())), [4, 3, np.nan])


def test_violations_count_every_kind():
    """Bounds, frozen floats, directions and broken one-hot groups, each counted once a float or group."""
    query = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
    limits = {
        "lower": [-1, -1, 0, 0, 0],
        "upper": [1, 1, 1, 1, 1],
        "frozen": [False, True, False, False, False],
        "rising": [True, False, False, False, False],
        "groups": [slice(2, 5)],
    }

    def broken(row, **more):
        return measures.violations(np.array([row], float), query, **{**limits, **more})[0]

    assert broken([0.5, 0, 0, 1, 0]) == 0
    assert broken([1.5, 0, 0, 1, 0]) == 1
    assert broken([-0.5, 0, 0, 1, 0]) == 1
    assert broken([0.5, 1e-15, 0, 1, 0]) == 1
    assert broken([0.5, 0, 0, 0.5, 0.5]) == 1
    assert broken([0.5, 0, 1, 1, 0]) == 1
    assert broken([-2, 2, 0.5, 1, 0]) == 3
    assert broken([0.5, 0, 0, 1, 0], falling=[True] + [False] * 4) == 1
    assert np.isnan(broken([np.nan] * 5))


def test_robustness_asks_models_trained_again(rows, answers):
    """It is the share of models that agree, answer by answer."""
    labels = (rows[:, 0] > 0).astype(int)
    again = [
        LogisticRegression().fit(rows[chosen], labels[chosen]).predict
        for chosen in (np.random.default_rng(seed).integers(80, size=80) for seed in range(3))
    ]

    shares = measures.robustness(again, answers, np.ones(6, int))

    np.testing.assert_allclose(shares[:5], np.mean([predict(answers[:5]) == 1 for predict in again], axis=0))
    assert np.isnan(shares[5])
    with pytest.raises(InputError, match="none was given: train some"):
        measures.robustness([], answers, np.ones(6))


def test_distinguishability_knows_real_rows_from_shifted_ones():
    """Rows of the same law are told apart by chance, shifted ones always."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(300, 3))

    assert measures.distinguishability(rng.normal(size=(100, 3)), data) == pytest.approx(0.5, abs=0.15)
    assert measures.distinguishability(rng.normal(size=(50, 3)) + 4, data) > 0.98
    with pytest.raises(InputError, match="3 answers are too few"):
        measures.distinguishability(data[:3], data)


def test_shapes_and_sizes_get_sentences(rows, answers):
    """Vectors, labels of another length and too little data are refused."""
    with pytest.raises(InputError, match=r"Rows have the shape \(3,\)"):
        measures.changed_columns(rows[0], rows[0])
    with pytest.raises(InputError, match=r"labels of the shape \(2,\) and wanted ones of the shape \(3,\)"):
        measures.validity([1, 0], [1, 0, 1])
    with pytest.raises(InputError, match="The data have 4 rows and the measure needs 5"):
        measures.neighbour_distance(answers, rows[:4])


def test_seconds_are_shared_and_rows_are_each_querys_own():
    """Three queries that took six seconds together; forward and backward passes are added up."""
    spent = [Spent(forward=4, backward=1, seconds=6.0), Spent(forward=2, seconds=6.0), Spent(seconds=6.0)]

    assert measures.seconds(spent).tolist() == [2.0, 2.0, 2.0]
    assert measures.model_rows(spent).tolist() == [5.0, 2.0, 0.0]
