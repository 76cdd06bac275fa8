"""Every command and every line of Python in the README works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_block_says_what_it_is():
    assert {language for language, _ in BLOCKS} == {"python", "sh", "text"}


def test_what_is_linked_exists():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.mpi
def test_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    namespace = {"__name__": "readme"}
    for language, block in BLOCKS:
        if language == "python":
            named = re.match(r"# (\w+\.py)\n", block)
            if named:
                Path(named[1]).write_text(block, encoding="utf-8")
            exec(compile(block, "README.md", "exec"), namespace)
        for line in block.splitlines() if language == "sh" else ():
            if line.startswith("tools/"):
                assert os.access(ROOT / line.split()[0], os.X_OK), line
                continue
            done = subprocess.run(line, shell=True, text=True, capture_output=True, timeout=240, check=False)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    for name in ("spectrum.h5", "spectrum.png", "two-ranks.h5", "mine.h5"):
        assert Path(name).stat().st_size > 0
    assert 0 < namespace["density"].error <= 0.1
    assert namespace["build"]().n == 4 * 16 + 16 + 16 * 3 + 3
