"""ProxSGD against ISTA, Adam, closed forms and brute force, written down in NumPy."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.optim import ProxSGD

SEEDS = (0, 1, 2)
ISTA = {"lr": 1.0, "gradient_weight": 1.0, "schedule": "constant"}


def lasso(seed: int, rows: int = 40, columns: int = 12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    A = generator.standard_normal((rows, columns))
    x = np.where(np.arange(columns) % 3 == 0, generator.standard_normal(columns), 0)
    return A, A @ x + 0.1 * generator.standard_normal(rows)


def least_squares(A: np.ndarray, b: np.ndarray, x: Tensor) -> Callable[[], Tensor]:
    matrix, right = torch.from_numpy(A), torch.from_numpy(b)

    def closure() -> Tensor:
        x.grad = None
        loss = 0.5 * (matrix @ x - right).square().sum()
        loss.backward()
        return loss

    return closure


def soft(z: np.ndarray, threshold: Any) -> np.ndarray:
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0)


def parameter(values: Any, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.array(values), dtype=dtype))


def steps(optimizer: ProxSGD, values: nn.Parameter, gradients: list[Tensor]) -> list[np.ndarray]:
    """The parameters after steps with given gradients."""
    found = []
    for gradient in gradients:
        values.grad = gradient.clone()
        optimizer.step()
        found.append(values.detach().numpy().copy())
    return found


def random_gradients(count: int, size: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, size, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_ista_with_constant_curvature_and_weights_of_one(seed: int) -> None:
    A, b = lasso(seed)
    lr, l1 = 1 / np.linalg.norm(A, 2) ** 2, 3.0
    x = parameter(np.zeros(12))
    optimizer = ProxSGD([x], **ISTA, curvature=1 / lr, l1=l1)
    expected = np.zeros(12)
    for _ in range(300):
        optimizer.step(least_squares(A, b, x))
        expected = soft(expected - lr * A.T @ (A @ expected - b), lr * l1)
        assert np.allclose(x.detach().numpy(), expected, rtol=1e-11, atol=1e-13)
    assert 0 < np.count_nonzero(expected) < 12
    assert np.array_equal(x.detach().numpy() == 0, expected == 0)  # exact zeros, without finalize
    # Optimality: |Aᵀ(Ax − b)| = l1 where x is not zero, and at most l1 where it is.
    gradient = A.T @ (A @ expected - b)
    assert np.allclose(gradient[expected != 0], -l1 * np.sign(expected[expected != 0]), atol=1e-8)
    assert np.all(np.abs(gradient[expected == 0]) <= l1)


@pytest.mark.parametrize("curvature", ["adaptive", 2.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_an_orthogonal_lasso_has_the_soft_threshold_as_its_solution(seed: int, curvature: Any) -> None:
    generator = np.random.default_rng(seed)
    A = np.linalg.qr(generator.standard_normal((30, 10)))[0]
    b, l1 = generator.standard_normal(30), 0.3
    x = parameter(generator.standard_normal(10))
    # A short memory of the second moment, so that the metric is that of the present gradients.
    optimizer = ProxSGD([x], lr=0.9, schedule=(0.0, 0.5), curvature=curvature, beta=0.9, delta=0.1, l1=l1)
    for _ in range(1500):
        optimizer.step(least_squares(A, b, x))
    optimizer.finalize()
    expected = soft(A.T @ b, l1)
    assert np.allclose(x.detach().numpy(), expected, atol=1e-6)
    assert np.array_equal(x.detach().numpy() == 0, expected == 0) and (expected == 0).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_with_noise_the_theory_schedule_finds_the_lasso_solution(seed: int) -> None:
    A, b = lasso(seed, 400, 12)
    l1 = 60.0
    expected = np.zeros(12)
    for _ in range(2000):
        expected = soft(expected - A.T @ (A @ expected - b) / np.linalg.norm(A, 2) ** 2, l1 / np.linalg.norm(A, 2) ** 2)
    x = parameter(np.zeros(12))
    optimizer = ProxSGD([x], lr=1.0, schedule="theory", curvature=500.0, l1=l1)
    generator = np.random.default_rng(seed)
    for _ in range(4000):
        rows = generator.choice(400, 40, replace=False)
        value = x.detach().numpy()
        x.grad = torch.from_numpy(10 * A[rows].T @ (A[rows] @ value - b[rows]))
        optimizer.step()
    optimizer.finalize()
    found = x.detach().numpy()

    def objective(z: np.ndarray) -> float:
        return 0.5 * float(np.sum((A @ z - b) ** 2)) + l1 * float(np.abs(z).sum())

    assert objective(found) <= (1 + 1e-3) * objective(expected)
    assert np.array_equal(found == 0, expected == 0) and (expected == 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", SEEDS)
def test_without_regularizer_it_is_adam_without_correction_of_the_first_moment(seed: int, dtype: torch.dtype) -> None:
    gradients = [gradient.to(dtype) for gradient in random_gradients(50, 7, seed)]
    start = np.random.default_rng(seed).standard_normal(7)
    x = parameter(start, dtype)
    optimizer = ProxSGD([x], lr=0.01, gradient_weight=0.1, schedule="constant", beta=0.98, delta=1e-6)
    found = steps(optimizer, x, gradients)
    expected, m, v = start.copy(), np.zeros(7), np.zeros(7)
    tolerance = 10 * torch.finfo(dtype).eps ** 0.5 if dtype is torch.float32 else 1e-12
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.double().numpy()
        m = 0.9 * m + 0.1 * g
        v = 0.98 * v + 0.02 * g**2
        expected = expected - 0.01 * m / (np.sqrt(v / (1 - 0.98**t)) + 1e-6)
        assert np.allclose(found[t - 1], expected, rtol=tolerance, atol=tolerance)


def test_torch_adam_differs_by_the_correction_of_the_first_moment_only() -> None:
    gradients = random_gradients(30, 5, 0)
    x, y = parameter(np.ones(5)), parameter(np.ones(5))
    adam = torch.optim.Adam([y], lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    ours = ProxSGD([x], lr=0.01, gradient_weight=0.1, schedule="constant", beta=0.99, delta=1e-8)
    for t, gradient in enumerate(gradients, start=1):
        ours.param_groups[0]["lr"] = 0.01 / (1 - 0.9**t)
        x.grad, y.grad = gradient.clone(), gradient.clone()
        ours.step()
        adam.step()
        assert torch.allclose(x, y, rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", ["constant", "paper", "theory"])
@pytest.mark.parametrize("beta", [0.5, 0.999])
def test_the_first_step_is_corrected_exactly(schedule: str, beta: float) -> None:
    # r = (1 − beta) g² divided by 1 − beta: tau = |g| + delta, whatever beta. The released code divides by 1 − beta².
    gradient = torch.tensor([2.0, -0.5, 1e-3], dtype=torch.float64)
    x = parameter([1.0, 1.0, 1.0])
    optimizer = ProxSGD([x], lr=0.1, gradient_weight=0.5, schedule=schedule, offset=4, beta=beta, delta=1e-3)
    (found,) = steps(optimizer, x, [gradient])
    a, b = {"constant": (0, 0), "paper": (0.5, 0.5), "theory": (0.51, 0.6)}[schedule]
    rho, eps = 0.5 / 4**a, 0.1 / 4**b
    g = gradient.numpy()
    assert np.allclose(found, 1 - eps * rho * g / (np.abs(g) + 1e-3), rtol=1e-13)


def test_the_schedule_is_that_of_the_paper() -> None:
    x = parameter([0.0])
    optimizer = ProxSGD([x], lr=0.3, gradient_weight=0.8, schedule=(0.5, 0.7), offset=4, curvature=1.0)
    gradients = random_gradients(20, 1, 3)
    found = steps(optimizer, x, gradients)
    expected, v = 0.0, 0.0
    for t, gradient in enumerate(gradients):
        rho, eps = 0.8 / (t + 4) ** 0.5, 0.3 / (t + 4) ** 0.7
        v = (1 - rho) * v + rho * gradient.item()
        expected += eps * (-v)
        assert found[t][0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("low", [None, -0.4, 0.0, 0.1])
@pytest.mark.parametrize("high", [None, 0.3])
@pytest.mark.parametrize("l1", [0.0, 0.7])
def test_the_closed_form_minimizes_the_subproblem(low: float | None, high: float | None, l1: float) -> None:
    generator = np.random.default_rng(1)
    start, g = generator.uniform(-1, 1, 40), generator.uniform(-1, 1, 40)
    x = parameter(start)
    tau = np.abs(g) + 0.2
    steps(ProxSGD([x], **ISTA, beta=0.9, delta=0.2, l1=l1, low=low, high=high), x, [torch.from_numpy(g)])
    edges = [-4.0 if low is None else low, 4.0 if high is None else high]
    y = np.linspace(*edges, 400_001)
    for index in range(40):
        value = (y - start[index]) * g[index] + 0.5 * tau[index] * (y - start[index]) ** 2 + l1 * np.abs(y)
        assert x[index].item() == pytest.approx(y[np.argmin(value)], abs=2.1e-5)


@pytest.mark.parametrize("curvature", ["adaptive", 3.0])
def test_the_box_holds_from_a_start_inside(curvature: Any) -> None:
    x = parameter(np.linspace(-1, 1, 9))
    optimizer = ProxSGD([x], lr=0.9, schedule="constant", curvature=curvature, low=-1.0, high=1.0)
    for values in steps(optimizer, x, [5 * gradient for gradient in random_gradients(200, 9, 0)]):
        assert np.all(np.abs(values) <= 1)
    assert np.abs(values).max() > 0.9


def trained(optimizer: Any, model: nn.Module, rounds: int, scheduler: Any = None, first: int = 0) -> None:
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    for index in range(first, first + rounds):
        optimizer.zero_grad()
        model(inputs[index % 8 :: 8]).square().mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


@pytest.mark.parametrize("options", [{}, {"l1": 1e-2}, {"curvature": 2.0, "l1": 1e-2, "low": -1.0}])
def test_a_saved_state_continues_with_the_same_bits(options: dict[str, Any]) -> None:
    whole = network()
    trained(ProxSGD(whole.parameters(), **options), whole, 30)
    first = network()
    optimizer = ProxSGD(first.parameters(), **options)
    trained(optimizer, first, 17)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    second = network(1)
    second.load_state_dict(loaded["model"])
    again = ProxSGD(second.parameters(), lr=0.5)  # the saved options win
    again.load_state_dict(loaded["optimizer"])
    trained(again, second, 13, first=17)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert set(again.state[next(iter(second.parameters()))]) == {"step", "momentum"} | (
        set() if "curvature" in options else {"second_moment"}
    )


def test_a_scheduler_scales_the_step_weight() -> None:
    gradients = random_gradients(12, 4, 0)
    x = parameter(np.ones(4))
    optimizer = ProxSGD([x], lr=0.4, gradient_weight=1.0, schedule="constant", curvature=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
    expected = np.ones(4)
    for t, gradient in enumerate(gradients):
        steps(optimizer, x, [gradient])
        scheduler.step()
        expected = expected - 0.4 * 0.5 ** (t // 4) * gradient.numpy()
        assert np.allclose(x.detach().numpy(), expected, rtol=1e-12)


def test_gradient_clipping_comes_first() -> None:
    clipped, scaled = network(), network()
    for model in (clipped, scaled):
        model(torch.ones(3, 4)).square().sum().mul(100).backward()
    norm = torch.linalg.vector_norm(torch.cat([value.grad.reshape(-1) for value in scaled.parameters()]))
    nn.utils.clip_grad_norm_(clipped.parameters(), 0.1)
    for value in scaled.parameters():
        value.grad.mul_(0.1 / (norm + 1e-6))
    for model in (clipped, scaled):
        ProxSGD(model.parameters(), curvature=1.0).step()
    for one, other in zip(clipped.parameters(), scaled.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-6) and one.grad is not None


def test_groups_have_options_of_their_own() -> None:
    gradient = torch.tensor([0.3, -0.2], dtype=torch.float64)
    values = [parameter([0.5, -0.5]) for _ in range(3)]
    optimizer = ProxSGD(
        [{"params": [values[0]], "l1": 0.4}, {"params": [values[1]], "lr": 0.5, "high": 0.1}],
        **(ISTA | {"lr": 1.0}),
        curvature=2.0,
    )
    optimizer.add_param_group({"params": [values[2]], "curvature": 4.0})
    for value in values:
        value.grad = gradient.clone()
    optimizer.step()
    z, x, g = np.array([0.35, -0.4]), np.array([0.5, -0.5]), gradient.numpy()
    assert np.allclose(values[0].detach(), soft(z, 0.2))
    assert np.allclose(values[1].detach(), 0.5 * x + 0.5 * np.minimum(z, 0.1))
    assert np.allclose(values[2].detach(), x - g / 4)


def test_parameters_without_gradient_and_frozen_ones_stay() -> None:
    used, unused = parameter([1.0]), parameter([1.0])
    optimizer = ProxSGD([used, unused], l1=0.5, **ISTA)
    used.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    assert unused.item() == 1 and used.item() != 1 and unused not in optimizer.state


def test_a_closure_may_differentiate_and_its_loss_comes_back() -> None:
    x = parameter([2.0])
    optimizer = ProxSGD([x], **ISTA, curvature=1.0)

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = 0.5 * x.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 2
    assert x.item() == 0 and x.grad_fn is None and x.is_leaf


def test_scalars_empty_and_half_precision_parameters_work() -> None:
    values = [parameter(1.0), parameter(np.zeros((0, 3))), parameter([1.0], torch.bfloat16)]
    optimizer = ProxSGD(values, l1=0.1)
    for value in values:
        value.grad = torch.ones_like(value)
    optimizer.step()
    assert 0 < values[0].item() < 1 and 0 < values[2].item() < 1
    report = optimizer.finalize()
    assert report.size == 2 and report.zeros_after == 0


@pytest.mark.parametrize("curvature", ["adaptive", 2.0])
def test_a_weight_of_one_gives_exact_zeros_and_a_smaller_one_shrinks(curvature: Any) -> None:
    for lr in (1.0, 0.25):
        x = parameter([1e-3, -1e-3, 1.0])
        optimizer = ProxSGD([x], lr=lr, schedule="constant", gradient_weight=1.0, curvature=curvature, l1=10.0)
        found = steps(optimizer, x, [torch.tensor([0.1, 0.1, -300.0], dtype=torch.float64)] * 3)
        if lr == 1:
            assert found[0][0] == 0 and found[0][1] == 0 and not np.signbit(found[0][1])
        else:
            assert np.allclose(found[2][:2], [1e-3 * 0.75**3, -1e-3 * 0.75**3], rtol=1e-12)
            assert optimizer.sparsity((0, 1e-3)) == {0: 0.0, 1e-3: 2 / 3}
            report = optimizer.finalize()
            assert (report.zeros_before, report.zeros_after, report.size) == (0, 2, 3)
            assert report.largest_change == pytest.approx(1e-3 * 0.75**3)
            assert optimizer.sparsity((0,)) == {0: 2 / 3} and x[2] != 0
            assert optimizer.finalize().zeros_before == 2  # nothing more to do
        assert x[2].item() == found[2][2]


def test_finalizing_before_the_first_step_changes_nothing() -> None:
    x = parameter([0.0, 1.0])
    report = ProxSGD([x], l1=1.0).finalize()
    assert report == ls.optim.Finalization(1, 1, 2, 0.0) and x.tolist() == [0, 1]


def test_biases_and_normalizations_are_left_out() -> None:
    model = nn.Sequential(
        nn.Embedding(5, 4), nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.LayerNorm((2, 2)), nn.MultiheadAttention(4, 2)
    )
    model[1].weight.requires_grad_(False)
    groups, options = ProxSGD.parameter_groups(model, l1=0.1, lr=0.2)
    assert options == {"lr": 0.2}
    assert [name for name, _ in groups[0]["params"]] == ["0.weight", "4.in_proj_weight", "4.out_proj.weight"]
    assert {name for name, _ in groups[1]["params"]} == {
        *("1.bias", "2.weight", "2.bias", "3.weight", "3.bias", "4.in_proj_bias", "4.out_proj.bias")
    }
    optimizer = ProxSGD(groups, **options)
    assert [group["l1"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 10


@pytest.mark.parametrize(
    ("schedule", "broken"),
    [
        ("theory", []),
        ((0.6, 1.0), []),
        ("paper", ["a = 0.5 ≤ 0.5", "b = 0.5 ≤ 0.5", "eps_t/rho_t does not vanish"]),
        ((0.5, 0.5981), ["a = 0.5 ≤ 0.5"]),  # the paper's DenseNet
        ((0.7, 0.6), ["eps_t/rho_t does not vanish"]),
        ((0.6, 1.1), ["the sum of eps_t is finite"]),
        ((1.1, 1.2), ["the sum of rho_t is finite", "the sum of eps_t is finite"]),
        ("constant", ["a = 0 ≤ 0.5", "b = 0 ≤ 0.5", "eps_t/rho_t does not vanish"]),
    ],
)
def test_broken_conditions_of_convergence_are_named(schedule: Any, broken: list[str]) -> None:
    found = ProxSGD([parameter([1.0])], schedule=schedule).check_schedule()
    assert len(found) == len(broken)
    for text, part in zip(found, broken, strict=True):
        assert text.startswith("group 0: ") and part in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be a finite number of at least 0, not -1.0"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"lr": "fast"}, "lr must be a finite number of at least 0, not 'fast'"),
        ({"lr": 2.5}, "lr=2.5 gives eps_t = 1.25 at step 0, but it is the weight of an average"),
        ({"gradient_weight": 0}, "gradient_weight must be a finite number above 0"),
        ({"gradient_weight": 1.5, "schedule": "constant"}, "gradient_weight=1.5 gives rho_t = 1.5"),
        ({"schedule": "cosine"}, "schedule='cosine' is none of constant, paper, theory"),
        ({"schedule": (0.5,)}, "two exponents"),
        ({"offset": 0}, "offset must be a finite number above 0"),
        ({"curvature": "adam"}, 'curvature must be "adaptive" or a positive number'),
        ({"curvature": 0}, 'curvature must be "adaptive" or a positive number'),
        ({"beta": 1.0}, r"beta must lie in \[0, 1\)"),
        ({"delta": 0.0}, "delta must be a finite number above 0"),
        ({"l1": -1e-3}, "l1 must be a finite number of at least 0"),
        ({"low": 1.0, "high": 0.5}, "the box is empty: low=1 is above high=0.5"),
        ({"low": "a"}, "low must be a number or None"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ls.InputError, match=message):
        ProxSGD([parameter([1.0])], **options)
    with pytest.raises(ls.InputError, match=message):
        ProxSGD([{"params": [parameter([1.0])], **options}])


def test_a_scheduler_that_leaves_the_averages_is_refused() -> None:
    x = parameter([1.0])
    optimizer = ProxSGD([x], lr=0.8, schedule="constant")
    optimizer.param_groups[0]["lr"] = 1.2
    with pytest.raises(ls.InputError, match=r"lr=1.2 gives eps_t = 1.2 at step 0"):
        steps(optimizer, x, [torch.ones(1, dtype=torch.float64)])


def test_sparse_gradients_and_complex_parameters_are_refused() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = ProxSGD(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ls.InputError, match="sparse=False"):
        optimizer.step()
    with pytest.raises(ls.InputError, match="view_as_real"):
        ProxSGD([nn.Parameter(torch.ones(2, dtype=torch.complex64))])


def test_copies_and_pickles_as_other_optimizers_do() -> None:
    model = network()
    optimizer = ProxSGD(model.named_parameters(), l1=1e-3)
    trained(optimizer, model, 3)
    twin = copy.deepcopy({"model": model, "optimizer": optimizer})
    trained(optimizer, model, 3, first=3)
    trained(twin["optimizer"], twin["model"], 3, first=3)
    for one, other in zip(model.parameters(), twin["model"].parameters(), strict=True):
        assert torch.equal(one, other)
    assert "0.weight" in optimizer.param_groups[0]["param_names"] and "l1: 0.001" in repr(optimizer)
