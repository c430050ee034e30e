"""The demo, cut short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_demo_writes_its_page(tmp_path: Path) -> None:
    """It shows progress and the prompts, says where the page is, and the page has the three pictures."""
    command = [sys.executable, str(DEMO), "--folder", str(tmp_path / "demo"), "--max-candidates", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    page = tmp_path / "demo" / "index.html"
    assert str(page) in done.stdout
    assert "candidates/s" in done.stderr
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 3
    assert text.count("<svg") == 3
    assert text.count("True caption") == 3
