"""SGD and ProxSGD from one start: is there a barrier between a dense and a sparse minimum, and what is on the way?

Usage: python sgd_vs_proxsgd.py [FOLDER]
"""

import sys
from pathlib import Path

import landscape as ls
from landscape import zoo

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

start = zoo.build("digits-mlp", epochs=0)
optimizers = {
    "SGD": ("sgd", {"lr": 0.1, "options": {"momentum": 0.9}}),
    "ProxSGD": ("prox_sgd", {"lr": 0.1, "options": {"l1": 5e-4}}),
}
ends = []
for name, (optimizer, options) in optimizers.items():
    run = ls.train(start, optimizer, epochs=20, path=folder / f"{optimizer}.h5", overwrite=True, **options)
    zeros = (run[-1].theta == 0).mean()
    print(f"{name:<8} loss {start.at(run[-1]).loss():.4f}, {zeros:.0%} of the parameters are zero")
    ends.append(run[-1])

path = ls.LinearPath(*ends, names=tuple(optimizers))
profile = ls.interpolate(start, path, points=25, margin=0.25, spectra=True)
profile.save(folder / "sgd_vs_proxsgd.h5")
profile.plot(folder / "sgd_vs_proxsgd.png", title="digits-mlp: from a dense minimum to a sparse one")
print(f"barrier {profile.barrier:.4f} ± {profile.barrier_stderr:.4f} at s = {profile.barrier_at:.2f}")
sharpness = dict(zip(profile.s, profile.lambda_max, strict=True))
print(f"λmax {sharpness[0]:.4g} at SGD, {sharpness[1]:.4g} at ProxSGD")
