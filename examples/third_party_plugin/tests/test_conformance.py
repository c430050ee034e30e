"""The rules that every optimizer keeps, one test for each."""

from preimage.testing import OptimizerSuite


class TestCoordinateSweep(OptimizerSuite):
    """Coordinate sweep keeps them all."""

    component = "coordinate-sweep"
