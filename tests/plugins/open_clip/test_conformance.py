"""Models of open_clip, loaded from a folder, play their roles as the contract says."""

from __future__ import annotations

from pathlib import Path

import preimage_miniworld
from preimage.testing import ModelSuite


class TestOpenClip(ModelSuite):
    component = "open_clip"
    reference = f"open_clip:{Path(preimage_miniworld.__file__).parent / 'models' / 'clip'}"


class TestOpenClipWithoutSharedPrefixes(ModelSuite):
    component = "open_clip"
    reference = TestOpenClip.reference
    options = {"share_prefixes": False}  # noqa: RUF012
