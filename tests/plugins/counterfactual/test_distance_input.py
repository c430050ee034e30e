"""Degenerate tables stay finite and are documented; input that cannot be used gets a sentence."""

from __future__ import annotations

import pytest
import torch

from preimage.errors import InputError, OptionError
from preimage_counterfactual.distances import (
    L0,
    L1,
    L2,
    MADL1,
    Gower,
    GowerConfig,
    Joint,
    JointConfig,
    JointLatent,
    JointLatentConfig,
    L0Config,
    L1Config,
    L2Config,
    MADConfig,
    Mahalanobis,
    MahalanobisConfig,
)

BUILD = {
    "l0": lambda: L0(L0Config()),
    "l1": lambda: L1(L1Config()),
    "l2": lambda: L2(L2Config()),
    "mad-l1": lambda: MADL1(MADConfig()),
    "mad-l1 whitened": lambda: MADL1(MADConfig(whitened=True)),
    "gower": lambda: Gower(GowerConfig()),
    "mahalanobis": lambda: Mahalanobis(MahalanobisConfig()),
    "mahalanobis unshrunk": lambda: Mahalanobis(MahalanobisConfig(shrinkage=0.0)),
    "joint": lambda: Joint(JointConfig()),
    "joint unshrunk": lambda: Joint(JointConfig(shrinkage=0.0)),
    "joint copula": lambda: Joint(JointConfig(margins="copula")),
    "joint copula unshrunk": lambda: Joint(JointConfig(margins="copula", shrinkage=0.0)),
    "joint-latent": lambda: JointLatent(JointLatentConfig(steps=10, layers=2, hidden=4)),
    "joint-latent vae": lambda: JointLatent(JointLatentConfig(steps=10, encoder="vae", codes=2)),
}
LEARNING = sorted(set(BUILD) - {"l0", "l1", "l2"})


def table(rows=30, columns=3):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("kind", ["duplicate column", "constant column", "fewer rows than columns", "two rows"])
def test_degenerate_tables_stay_finite(name, kind):
    """Duplicate and constant columns, fewer rows than columns, and two rows give finite distances and gradients."""
    data = {
        "duplicate column": torch.cat([table(), table()[:, :1]], dim=1),
        "constant column": torch.cat([table(), torch.full((30, 1), 0.1).double()], dim=1),
        "fewer rows than columns": table(4, 7),
        "two rows": table(2, 3),
    }[kind]
    distance = BUILD[name]()
    distance.fit(data)
    left = (data[:2] + 0.5).requires_grad_()

    values = distance(left, data[:2].flip(0))

    assert values.isfinite().all()
    if distance.differentiable:
        assert torch.autograd.grad(values.sum(), left)[0].isfinite().all()


@pytest.mark.parametrize("name", ["mahalanobis unshrunk", "joint unshrunk"])
def test_singular_covariance_has_its_pseudo_inverse(name):
    """A duplicated column counts once: distances between rows of the data are those without it."""
    data = table()
    once, twice = BUILD[name](), BUILD[name]()
    once.fit(data)
    twice.fit(torch.cat([data, data[:, :1]], dim=1))

    torch.testing.assert_close(
        twice(torch.cat([data, data[:, :1]], dim=1)[:9], torch.cat([data, data[:, :1]], dim=1)[9:18]),
        once(data[:9], data[9:18]),
    )


def test_singular_covariance_forgives_steps_off_the_plane():
    """As documented, without shrinking a step that no row of the data takes costs nothing; with it, it costs much."""
    data = torch.cat([table(), table()[:, :1]], dim=1)
    step = torch.tensor([[1.0, 0.0, 0.0, -1.0]], dtype=torch.float64)
    values = {}
    for name in ("mahalanobis", "mahalanobis unshrunk"):
        distance = BUILD[name]()
        distance.fit(data)
        values[name] = float(distance(step, torch.zeros(1, 4, dtype=torch.float64)))

    assert values["mahalanobis unshrunk"] < 1e-6
    assert values["mahalanobis"] > 2


@pytest.mark.parametrize("name", BUILD)
def test_missing_values_are_refused(name):
    """NaN in the data names row and column."""
    data = table()
    data[3, 1] = torch.nan

    with pytest.raises(InputError, match="Row 3 holds nan in column 1: fill missing values or drop such rows"):
        BUILD[name]().fit(data)


@pytest.mark.parametrize("name", BUILD)
def test_missing_answers_are_at_no_distance(name):
    """A row of NaN asked for gives NaN, never a number, and the other rows theirs."""
    distance = BUILD[name]()
    distance.fit(table())
    left = table()[:3].clone()
    left[1] = torch.nan

    values, between = distance(left, table()[3:6]), distance.pairwise(left, table()[3:6])

    assert values.isnan().tolist() == [False, True, False]
    assert between.isnan().all(dim=1).tolist() == [False, True, False]


@pytest.mark.parametrize("name", LEARNING)
def test_one_row_is_refused(name):
    """One row shows no spread."""
    with pytest.raises(InputError, match="The data have 1 row, which show no spread to measure by: give at least 2"):
        BUILD[name]().fit(table()[:1])


@pytest.mark.parametrize("name", ["mahalanobis", "joint", "joint copula", "joint-latent", "mad-l1 whitened"])
def test_rows_that_are_all_alike_are_refused(name):
    """Where every column is constant there is nothing to measure by."""
    with pytest.raises(InputError, match="All rows of the data are alike"):
        BUILD[name]().fit(table()[:1].expand(9, -1))


@pytest.mark.parametrize("name", BUILD)
def test_widths_must_agree(name):
    """Sides of different widths, and rows of another width than the data, are refused with both widths."""
    distance = BUILD[name]()
    distance.fit(table())

    with pytest.raises(InputError, match=r"left side has the shape \(2, 3\) and the right side \(2, 2\)"):
        distance(table()[:2], table(2, 2))
    with pytest.raises(InputError, match="rows are 2 floats wide and the distance was fitted to 3"):
        distance(table(2, 2), table(2, 2))
    with pytest.raises(InputError, match=r"There are 2 rows on the left and 3 on the right.*`pairwise`"):
        distance(table()[:2], table()[:3])


@pytest.mark.parametrize("name", LEARNING)
def test_data_must_be_seen_first(name):
    """A distance that learns says so when it is asked before."""
    with pytest.raises(InputError, match="has seen none: call `fit` first"):
        BUILD[name]()(table()[:2], table()[2:4])


@pytest.mark.parametrize("data", ["a table", [["a", "b"]], table()[0], object()])
def test_data_must_be_a_table_of_numbers(data):
    """Text, one row without its table, and other things are refused."""
    with pytest.raises(InputError, match="not a table of numbers|fitted to a table"):
        BUILD["joint"]().fit(data)


def test_arrays_are_tables():
    """A numpy array fits as a tensor does, and is left alone."""
    data = table()
    distance, other = BUILD["joint"](), BUILD["joint"]()
    array = data.numpy().copy()
    distance.fit(array)
    other.fit(data)

    assert torch.equal(torch.from_numpy(array), data)
    assert torch.equal(distance(data[:3], data[3:6]), other(data[:3], data[3:6]))


@pytest.mark.parametrize("config", [JointConfig, JointLatentConfig])
@pytest.mark.parametrize("r", [-0.1, 1.0, 1.5, float("nan"), "high"])
def test_correlation_must_be_one(config, r):
    """R outside [0, 1) is refused with what its ends mean."""
    with pytest.raises(OptionError, match="no correlation that a row and its counterfactual can have: at 0 the row"):
        config(r=r)


@pytest.mark.parametrize("config", [JointConfig, JointLatentConfig])
def test_symmetric_faces_need_a_correlation(config):
    """At r = 0 closeness and metric are zero everywhere."""
    assert config(r=0.0).face == "search-cost"
    for face in ("closeness", "metric"):
        with pytest.raises(OptionError, match=f"face '{face}' is zero everywhere: give an r above 0"):
            config(r=0, face=face)


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, "much"])
def test_shrinkage_must_be_a_share(shrinkage):
    """What is neither a share nor the known word is refused."""
    with pytest.raises(OptionError, match="is no share: give 'ledoit-wolf', or a number from 0"):
        MahalanobisConfig(shrinkage=shrinkage)


def test_class_conditional_forms_need_labels():
    """Missing, too few and unknown labels are told apart."""
    distance = Joint(JointConfig(classes="shared"))
    with pytest.raises(InputError, match="asks which class each row belongs to, and no labels were given"):
        distance.fit(table())
    with pytest.raises(InputError, match="was given 2 labels for 30 rows"):
        distance.fit(table(), [0, 1])
    distance.fit(table(), [3, 7] * 15)
    with pytest.raises(InputError, match="asks which class each row belongs to"):
        distance(table()[:2], table()[2:4])
    with pytest.raises(InputError, match="The label 5 is none of the classes that the distance was fitted to: 3, 7"):
        distance(table()[:2], table()[2:4], [3, 5], 7)


def test_transport_needs_rows_of_every_class():
    """A class of one row shows no covariance."""
    with pytest.raises(InputError, match="Class 1 has 1 row, which shows no covariance.*classes='shared'"):
        Joint(JointConfig(classes="transport")).fit(table(), [0] * 29 + [1])


def test_space_must_fit_the_data():
    """A space of another width is refused."""

    class Narrow:
        width = 2
        groups = ()
        frozen = torch.tensor([False, False])

    with pytest.raises(InputError, match="data are 3 floats wide and the space encodes rows in 2"):
        L2(L2Config()).fit(table(), space=Narrow())
