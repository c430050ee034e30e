"""Where models live."""

import pytest
import torch

from preimage.device import resolve_device
from preimage.errors import InputError


def test_without_a_name_a_usable_device_is_found():
    """The accelerator if there is one, else the CPU."""
    assert torch.zeros(1, device=resolve_device()).item() == 0


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_a_sentence(name):
    """It says what to do instead."""
    with pytest.raises(InputError, match=f"The device '{name}' cannot be used here .* use 'cpu'"):
        resolve_device(name)
