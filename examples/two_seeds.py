"""Two trainings of one network from different seeds: what lies between them, and three ways around it.

The straight line between two minima crosses a barrier. Part of it is not there: neurons stand in another order
(alignment puts them in the same one), and batch-norm statistics belong to neither end (they are computed again at each
point). The rest can be walked around, on a curve that is fitted to low loss.

Usage: python two_seeds.py [FOLDER]
"""

import sys
from pathlib import Path

import landscape as ls
from landscape import zoo

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

a, b = (zoo.build("digits-cnn", seed=seed) for seed in (0, 1))  # trained objectives: the same data, other minima
matched = ls.align(a, a, b, restarts=4)  # b, its neurons in the order of a's

ways = {
    "straight": (ls.LinearPath(a, b), "eval"),
    "aligned": (ls.LinearPath(a, matched), "eval"),
    "aligned, repaired": (ls.LinearPath(a, matched), "recompute"),
    "curve": (ls.BezierPath.fit(a, a, matched), "recompute"),
}
profiles = {}
for name, (path, batchnorm) in ways.items():
    profile = ls.interpolate(a, path, points=25, spectra=True, batchnorm=batchnorm)
    profile.save(folder / f"{name.replace(', ', '-')}.h5")
    profiles[name] = profile
    print(
        f"{name:<18} barrier {profile.barrier:7.4f} ± {profile.barrier_stderr:.4f} at s = {profile.barrier_at:.2f}, "
        f"length {profile.length:5.2f}, λmax at most {profile.lambda_max.max():.4g}"
    )

title = "digits-cnn: between two seeds"
ls.render.interpolation(list(profiles.values()), folder / "two_seeds.png", names=list(profiles), title=title)

curve, _ = ways["curve"]
surface = ls.loss_surface(a, curve.plane(), resolution=31, batchnorm="recompute")
ls.render.video(profiles["curve"], folder / "two_seeds.mp4", layout="path", surface=surface, title=title)
