"""The loader of ``miniworld:…`` and the command ``preimage miniworld``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import preimage_miniworld
from preimage import catalogue
from preimage.cli import main
from preimage.errors import AssemblyError, UnknownNameError

FOLDER = Path(preimage_miniworld.__file__).parent / "models" / "clip"


class TestLoader:
    def test_reads_like_the_folder_itself(self) -> None:
        """The bundled CLIP is what open_clip's loader makes of its folder, under a reference of its own."""
        bundled = catalogue().load_model("miniworld:clip", "image-text-encoder")
        folder = catalogue().load_model(f"open_clip:{FOLDER}", "image-text-encoder")
        assert (bundled.reference, bundled.space.name) == ("miniworld:clip", "miniworld:clip")
        assert folder.reference == folder.space.name == f"open_clip:{FOLDER}"
        assert bundled.fingerprint == folder.fingerprint
        assert bundled.space.embedding.data_ptr() == folder.space.embedding.data_ptr()
        ids = torch.tensor(bundled.space.encode(["a red star"]))
        assert torch.equal(bundled.encode_tokens(ids), folder.encode_tokens(ids))

    def test_both_roles(self) -> None:
        """It serves as encoder of texts, too."""
        assert catalogue().load_model("miniworld:clip", "text-encoder").reference == "miniworld:clip"

    def test_unknown_name(self) -> None:
        """A name that is not bundled is answered with the nearest one."""
        with pytest.raises(UnknownNameError, match=r"no model 'clop'. Did you mean 'clip'"):
            catalogue().load_model("miniworld:clop", "image-text-encoder")

    def test_unknown_role(self) -> None:
        """A role that no bundled model has is refused."""
        with pytest.raises(AssemblyError, match="image-generator"):
            catalogue().load_model("miniworld:clip", "image-generator")

    def test_plugin_is_light(self) -> None:
        """Reading the plugin's record imports no torch, no renderer and no model library."""
        code = (
            "import sys, preimage_miniworld.plugin as p; p.provide_models(); "
            "print([m for m in ('torch', 'numpy', 'PIL', 'open_clip', 'transformers') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestSample:
    def test_folder_of_pictures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Pictures and metadata.jsonl are written, the same for the same seed."""
        for name in ("a", "b"):
            assert main(["miniworld", "sample", "-n", "3", str(tmp_path / name), "--seed", "4"]) == 0
        assert "3 pictures" in capsys.readouterr().out
        lines = (tmp_path / "a" / "metadata.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert len(records) == 3
        assert all(record["text"] for record in records)
        for record in records:
            left, right = (Image.open(tmp_path / name / record["file_name"]) for name in ("a", "b"))
            assert left.tobytes() == right.tobytes()

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["-n", "0"], "0 pictures"),
            (["-n", "many"], "many"),
            (["--split", "test"], "'test'"),
        ],
    )
    def test_bad_arguments(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
    ) -> None:
        """Each gives one sentence and exit code 2."""
        assert main(["miniworld", "sample", str(tmp_path / "new"), *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("preimage: ")
        assert error.count("\n") == 1
        assert expected in error

    def test_folders_are_not_mixed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A folder that has pictures already is left alone."""
        assert main(["miniworld", "sample", "-n", "1", str(tmp_path)]) == 0
        assert main(["miniworld", "sample", "-n", "1", str(tmp_path)]) == 2
        assert "already there" in capsys.readouterr().err
