"""The curvature of a network of your own: its eigenvalue density with error bars, and its leading eigenvectors.

Usage: python spectrum_of_your_model.py [FOLDER]; the same script under mpiexec: mpiexec -n 2 python -m mpi4py ...
"""

import sys
from pathlib import Path

import torch
from torch import nn

import landscape as ls
from landscape.zoo import readers

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# Any module, loss and data; here 8×8 images of handwritten digits. Seeded, so that all ranks train the same network.
torch.manual_seed(0)
images, labels = readers.digits()
inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 64) / 16
targets = torch.tensor(labels, dtype=torch.int64)
model = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10))
loss = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(200):
    optimizer.zero_grad()
    loss(model(inputs), targets).backward()
    optimizer.step()

# The loss as a function of the parameters: fixed data, the true mean, your model untouched.
objective = ls.Objective(model, loss, (inputs, targets))
hessian = ls.Hessian(objective)

density = ls.spectral_density(hessian, tol=0.1)
pairs = ls.eigenpairs(hessian, k=5)

if objective.grid.rank == 0:
    density.save(folder / "spectrum.h5")
    density.plot(folder / "spectrum.png", title=f"tanh network, {objective.n} parameters")
    pairs.save(folder / "eigenpairs.h5")
    print(f"trace            {density.trace:.4g} ± {density.trace_stderr:.2g}")
    print(f"negative share   {density.negative_mass:.1%} below {-density.zero_threshold:.2g}")
    for value, residual in zip(pairs.values, pairs.residuals, strict=True):
        print(f"eigenvalue       {value:.5g} ± {residual:.1g}")
    # Class structure shows in the leading eigenvectors: how much of each lies in the last layer?
    last = objective.variables(torch.as_tensor(pairs.vectors[:, 0]))["2.weight"]
    print(f"of the first eigenvector, {last.square().sum().item():.0%} lies in the last layer")
