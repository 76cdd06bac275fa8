"""Progress: plain lines for a log, at the start and in between, from one rank."""

from __future__ import annotations

import re
import time

from landscape.cli.progress import Progress


def test_plain_lines(capfd):
    with Progress("spectrum", ranks=4, interval=0.05) as progress:
        time.sleep(0.12)
        progress(10, 90)  # ten products of an earlier run
        for done in range(11, 31):
            progress(done, 90, "error 0.2")
            time.sleep(0.01)
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"landscape spectrum: getting ready, \d+ s, 4 ranks", lines[0])
    assert "landscape spectrum: 10/90 products, 4 ranks" in lines
    pattern = r"landscape spectrum: (\d+)/90 products, ([\d.]+)/s, (\d+) (s|min) left at most, 4 ranks, error 0\.2"
    found = re.fullmatch(pattern, lines[-1])
    assert found
    assert 0 < float(found[2]) <= 106  # 20 products in at least 19 × 10 ms: those of the earlier run do not count


def test_quiet_on_other_ranks(capfd):
    with Progress("spectrum", ranks=4, enabled=False, interval=0.01) as progress:
        progress(1, 2)
        time.sleep(0.05)
    assert capfd.readouterr().err == ""
