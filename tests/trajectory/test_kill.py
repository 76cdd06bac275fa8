"""A recording that is killed opens up to its last finished segment, and goes on from there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import numpy as np

import landscape as ls
from landscape.trajectory import is_trajectory

# Parameters equal to the step, so that every checkpoint can be checked by itself.
RECORDER = """
import sys, torch
import landscape as ls
model = torch.nn.Linear(20_000, 1)
model.register_buffer("count", torch.zeros((), dtype=torch.int64))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
recorder = ls.Recorder(sys.argv[1], model, optimizer, segment_bytes=4 * 80_000, resume=True)
with recorder:
    while True:
        print(recorder.steps, flush=True)
        with torch.no_grad():
            for value in model.parameters():
                value.fill_(recorder.steps + 1)
        model.count.fill_(recorder.steps + 1)
        recorder.step(loss=recorder.steps + 1)
"""


def test_kill_while_recording(tmp_path, faults):
    path = tmp_path / "run.h5"
    moments = random.Random(0)
    before = -1
    for _ in range(6 * faults):
        process = subprocess.Popen([sys.executable, "-c", RECORDER, path], stdout=subprocess.PIPE, text=True)
        first = int(process.stdout.readline())
        assert first == max(before, 0)  # it goes on after what was on the disk
        for _ in range(moments.randrange(30)):
            process.stdout.readline()
        time.sleep(0.02 * moments.random())
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        counted = [first, *map(int, rest.split())]
        run = ls.Trajectory(path)
        assert is_trajectory(path)
        assert not run.complete
        before = int(run.steps[-1])
        assert counted[-1] - 8 <= before <= counted[-1] + 1  # at most the unfinished segment and the one being written
        assert run.steps.tolist() == list(range(before + 1))
        assert np.array_equal(run.losses[1:], run.steps[1:])
        for start, theta in run.blocks():
            for row, values in enumerate(theta, start):
                assert row == 0 or (values == row).all()
        assert run[-1].buffers["count"] == before
