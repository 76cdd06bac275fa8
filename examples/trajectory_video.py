"""Record a training loop of your own and watch it walk over its loss landscape.

Usage: python trajectory_video.py [FOLDER]
"""

import sys
from pathlib import Path

import torch
from torch import nn

import landscape as ls
from landscape.zoo import readers

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def main() -> None:
    torch.manual_seed(0)
    images, labels = readers.digits()
    inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 64) / 16
    targets = torch.tensor(labels, dtype=torch.int64)
    model = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10))
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

    # Your loop, with two more lines.
    with ls.Recorder(folder / "run.h5", model, optimizer, every=4, overwrite=True) as recorder:
        for _ in range(6):
            for rows in torch.randperm(len(inputs)).split(64):
                optimizer.zero_grad()
                value = loss(model(inputs[rows]), targets[rows])
                value.backward()
                optimizer.step()
                recorder.step(loss=value)

    run = ls.Trajectory(folder / "run.h5")
    objective = ls.Objective(model, loss, (inputs, targets))
    plane = ls.Plane.pca(run)
    print(f"{len(run)} checkpoints; explained variance {plane.explained_variance.round(2)}")
    print(f"of random walks with steps of the same lengths: {plane.explained_variance_null.round(2)}")
    print(f"distance from the plane: at most {plane.residual(run).max():.2g}")

    surface = ls.loss_surface(objective, plane, resolution=31)
    surface.save(folder / "surface.h5")
    surface.plot(folder / "surface.png")
    ls.render.relief(surface, folder / "relief.png")
    ls.render.video(surface, folder / "run.mp4")


if __name__ == "__main__":  # the video may start processes that import this file
    main()
