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

a, b = (zoo.build("digits-cnn", seed=seed) for seed in (0, 1))  # trained on all data
objective = zoo.build(
    "digits-cnn", epochs=0, samples=400
)  # looked at on some of them, which takes a quarter of the time
matched = ls.align(objective, a, b, restarts=4)  # b, its neurons in the order of a's

names = ("seed 0", "seed 1")
line = ls.LinearPath(a, matched, names=names)
ways = {
    "straight": (ls.LinearPath(a, b, names=names), "eval"),
    "aligned": (line, "eval"),
    "repaired": (line, "recompute"),
    "curve": (ls.BezierPath.fit(objective, a, matched, names=names), "recompute"),
}
profiles = {}
for name, (path, batchnorm) in ways.items():
    profile = ls.interpolate(objective, path, points=13, spectra=True, pairs=3, tol=0.1, batchnorm=batchnorm)
    profile.save(folder / f"{name}.h5")
    profiles[name] = profile
    print(
        f"{name:<8} barrier {profile.barrier:7.4f} ± {profile.barrier_stderr:.4f} at s = {profile.barrier_at:.2f}, "
        f"length {profile.length:5.2f}, λmax at most {profile.lambda_max.max():.4g}"
    )

title = "digits-cnn: between two seeds"
ls.render.interpolation(list(profiles.values()), folder / "two_seeds.png", names=list(profiles), title=title)

curve, _ = ways["curve"]
surface = ls.loss_surface(objective, curve.plane(), resolution=31, batchnorm="recompute")
ls.render.video(profiles["curve"], folder / "two_seeds.mp4", layout="path", surface=surface, title=title)
