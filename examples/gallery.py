"""Every kind of picture, of one small network and three optimizers: the gallery of the README.

Usage: python gallery.py [FOLDER]
"""

import sys
from pathlib import Path

import landscape as ls
from landscape import render, zoo

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
SIZE = "720p"  # of videos and of single frames

start = zoo.build("digits-mlp", epochs=0)  # the network that all optimizers start from
optimizers = {
    "sgd": {"lr": 0.05, "options": {"momentum": 0.9}},
    "adam": {"lr": 0.005},
    "prox_sgd": {"lr": 0.1, "options": {"l1": 5e-4}},
}
runs = [
    ls.train(start, name, epochs=8, every=4, path=folder / f"{name}.h5", overwrite=True, **options)
    for name, options in optimizers.items()
]
end = start.at(runs[0][-1])

# The landscape of all runs. An adaptive grid computes what the picture needs, and says how far off the rest may be.
surface = ls.loss_surface(start, ls.Plane.pca(runs), resolution=101, adaptive=True)
surface.save(folder / "surface.h5")
surface.plot(folder / "surface.png")
render.relief(surface, folder / "relief.png")

# The curvature at the end of the first run, and along all of them.
density = ls.spectral_density(ls.Hessian(end), tol=0.05)
density.save(folder / "density.h5")
density.plot(folder / "density.png")
densities = ls.spectra_along(runs[0], start, every=5, tol=0.2, max_products=120)
eigenvalues = [ls.eigenpairs_along(run, start, k=3, every=5) for run in runs]
eigenvalues[0].plot(folder / "eigenvalues.png")

# Where the loss bends most and where it bends down, if anywhere: the loss beside its quadratic model.
pairs = ls.eigenpairs(ls.Hessian(end), k=1, which="both")
steepest = ls.Plane.eigenvectors(pairs, "ends")
ls.loss_surface(end, steepest, resolution=101, adaptive=True).plot(folder / "eigenvectors.png")
ls.loss_profile(end, steepest).plot(folder / "profile.png")

# Moments of three videos, and one video; render.video takes the same arguments as render.frame.
seen = {"densities": densities, "eigenvalues": eigenvalues[0], "size": SIZE}
render.frame(surface, folder / "trajectory.png", step=150, **seen)
render.frame(surface, folder / "flyover.png", step=150, layout="flyover", **seen)
render.frame(surface, folder / "compare.png", step=150, layout="compare", eigenvalues=eigenvalues, size=SIZE)
render.frame(densities, folder / "spectrum.png", step=150, size=SIZE)
render.video(surface, folder / "flyover.mp4", layout="flyover", **seen)

# Everything on one page.
render.report([*runs, surface, density, densities, *eigenvalues], folder / "report.html", title="Three optimizers")
