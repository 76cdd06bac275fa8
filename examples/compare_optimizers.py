"""Three optimizers from one start on one landscape: where they go, what it costs, how sharp and how sparse it ends.

Usage: python compare_optimizers.py [FOLDER]
"""

import sys
from pathlib import Path

import landscape as ls
from landscape import zoo

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

objective = zoo.build("digits-mlp", epochs=0)  # the start that all of them share
optimizers = {
    "sgd": {"lr": 0.1, "options": {"momentum": 0.9}},
    "adam": {"lr": 0.003},
    "prox_sgd": {"lr": 0.1, "options": {"l1": 5e-4}},
}

runs = []
print(f"{'optimizer':<10} {'loss':>8} {'accuracy':>9} {'zeros':>7} {'λ max':>8}")
for name, arguments in optimizers.items():
    run = ls.train(objective, name, epochs=8, every=8, path=folder / f"{name}.h5", overwrite=True, **arguments)
    end = objective.at(run[-1])
    found = end.evaluate()
    sharpness = ls.eigenpairs(ls.Hessian(end), k=1).values[0]
    zeros = (run[-1].theta == 0).mean()
    print(f"{name:<10} {found['loss']:8.4f} {found['accuracy']:9.1%} {zeros:7.1%} {sharpness:8.3g}")
    runs.append(run)

plane = ls.Plane.pca(runs)
surface = ls.loss_surface(objective, plane, resolution=31)
surface.save(folder / "optimizers.h5")
surface.plot(folder / "optimizers.png", title="digits-mlp: three optimizers from one start")
