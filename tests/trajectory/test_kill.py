"""A recording that is killed opens up to its last finished segment, and goes on from there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

import landscape as ls

# Forks, so that torch is loaded once. Parameters equal to the step: every checkpoint can be checked by itself.
RECORDER = """
import os, sys, torch
import landscape as ls

def record():
    os.write(1, f"{os.getpid()}\\n".encode())
    model = torch.nn.Linear(20_000, 1)
    model.register_buffer("count", torch.zeros((), dtype=torch.int64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.Recorder(sys.argv[1], model, optimizer, segment_bytes=4 * 80_000, resume=True) as recorder:
        while True:
            os.write(1, f"{recorder.steps}\\n".encode())
            with torch.no_grad():
                for value in model.parameters():
                    value.fill_(recorder.steps + 1)
            model.count.fill_(recorder.steps + 1)
            recorder.step(loss=recorder.steps + 1)

ls.Recorder("", model := torch.nn.Linear(1, 1), torch.optim.SGD(model.parameters(), lr=0.1))  # load everything
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        record()
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


def test_kill_while_recording(tmp_path, faults):
    path = tmp_path / "run.h5"
    moments = random.Random(0)
    before = -1
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for _ in range(8 * faults):
        process.stdin.write("record\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        lines = [process.stdout.readline() for _ in range(1 + moments.randrange(30))]
        time.sleep(0.02 * moments.random())
        os.kill(child, signal.SIGKILL)
        counted = [int(line) for line in [*lines, *iter(process.stdout.readline, "dead\n")]]
        assert counted[0] == max(before, 0)  # it goes on after what was on the disk
        run = ls.Trajectory(path)
        assert not run.complete
        before = int(run.steps[-1])
        assert counted[-1] - 8 <= before <= counted[-1] + 1  # at most the segment in memory and the one being written
        assert run.steps.tolist() == list(range(before + 1))
        assert np.array_equal(run.losses[1:], run.steps[1:])
        for start, theta in run.blocks():
            for row, values in enumerate(theta, start):
                assert row == 0 or (values == row).all()
        assert run[-1].buffers["count"] == before
    process.communicate(timeout=60)
