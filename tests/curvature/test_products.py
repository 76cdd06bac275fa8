"""The ways to compute a Hessian product agree, keep what they may keep, and say what they cannot do."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import landscape as ls
from landscape.zoo import models
from tests.cases import cases

EXACT = ["double_backward", "forward_over_reverse", "linearized"]


class Strided(nn.Module):
    """Convolutions with stride, groups and bias; norms that can and cannot be folded; a shortcut and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2, bias=False)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.last = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = functional.silu(self.norm(y)) + 0.1 * y
        z = torch.tanh(self.plain(self.second(y)))
        z = self.last(z + functional.pad(y[:, :, ::2, ::2], (0, 0)))
        return self.head(functional.adaptive_avg_pool2d(z, 1).flatten(1))


class Tokens(nn.Module):
    """Embeddings, layer norms, fused causal attention with and without scale, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 24)
        self.narrow = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embedding(x)
        q, k, v = self.mix(self.norm(y)).view(*x.shape, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = y + functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(y.shape)
        y = y + functional.scaled_dot_product_attention(y, y, y, scale=0.3)
        return functional.linear(functional.gelu(self.narrow(y)), self.embedding.weight)


def by_token(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.reshape(-1, 7), target.reshape(-1))


def problem(name: str, seed: int, dtype: torch.dtype) -> ls.Objective:
    torch.manual_seed(seed)
    if name == "tokens":
        data = torch.randint(0, 7, (2, 10, 5))
        return ls.Objective(Tokens().to(dtype), by_token, (data[0], data[1]), micro_batch=4)
    net: dict[str, Callable[[], nn.Module]] = {
        "strided": Strided,
        "residual": lambda: models.residual("gelu"),
        "mlp": lambda: models.mlp((8, 6, 3), "tanh"),
    }
    model = net[name]()
    shape = {"strided": (2, 7, 7), "residual": (1, 8, 8), "mlp": (8,)}[name]
    inputs = torch.randn(10, *shape)
    for _ in range(3):
        model(inputs)  # so that the norms have statistics
    data = inputs.to(dtype), torch.randint(0, 3, (10,))
    return ls.Objective(model.eval().to(dtype), nn.CrossEntropyLoss(), data, micro_batch=4)


def gaussian(objective: ls.Objective, k: int = 1, seed: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(objective.n, k, dtype=torch.float64, generator=generator).to(objective.dtype).squeeze(1)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["strided", "residual", "tokens"])
def test_products_agree_with_differences_of_gradients(name: str, seed: int) -> None:
    objective = problem(name, seed, torch.float64)
    vector = gaussian(objective)
    step = 1e-4 / vector.norm()
    ends = [objective.at(objective.theta + sign * step * vector).gradient() for sign in (1, -1)]
    reference = (ends[0] - ends[1]) / (2 * step)
    for product in EXACT:
        assert (ls.Hessian(objective, product) @ vector - reference).norm() <= 1e-6 * reference.norm(), product
    difference = ls.Hessian(objective, "finite_difference") @ vector
    assert (difference - reference).norm() <= 1e-5 * reference.norm()


@pytest.mark.parametrize("name", ["strided", "tokens"])
def test_single_precision_loses_nothing_but_digits(name: str) -> None:
    double, single = (problem(name, 3, dtype) for dtype in (torch.float64, torch.float32))
    reference = ls.Hessian(double) @ gaussian(double)
    for product in EXACT:
        result = ls.Hessian(single, product) @ gaussian(single)
        assert (result - reference).norm() <= 1e-5 * reference.norm(), product


@pytest.mark.parametrize("product", ["linearized", "double_backward"])
def test_what_is_kept_changes_no_bit(product: str) -> None:
    objective = problem("strided", 0, torch.float32)
    block = gaussian(objective, 3)
    keeping, streaming = ls.Hessian(objective, product), ls.Hessian(objective, product, memory_budget=1)
    expected = keeping @ block
    room = keeping._way().kept.bytes // 2  # type: ignore[attr-defined]
    some = ls.Hessian(objective, product, memory_budget=room)
    for operator in (keeping, streaming, some, keeping):
        assert torch.equal(operator @ block, expected)
    sizes = [len(operator._way().kept) for operator in (keeping, some, streaming)]  # type: ignore[attr-defined]
    assert sizes[0] == 3 > sizes[1] > sizes[2] == 0
    assert some._way().kept.bytes <= room  # type: ignore[attr-defined]


@pytest.mark.parametrize("product", EXACT)
def test_a_block_is_its_columns(product: str) -> None:
    objective = problem("tokens", 1, torch.float64)
    block = gaussian(objective, 3)
    hessian = ls.Hessian(objective, product)
    columns = torch.stack([hessian @ column for column in block.T], 1)
    assert (hessian @ block - columns).norm() <= 1e-14 * columns.norm()


class Counting(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = str(function).split(".")[1]
        self.counts[name] = self.counts.get(name, 0) + 1
        return function(*args, **(kwargs or {}))


def test_a_kept_linearization_replays_the_vector_part_alone() -> None:
    torch.manual_seed(0)
    model = models.mlp((8, 6, 6, 3), "relu")
    objective = ls.Objective(model, nn.CrossEntropyLoss(), [(torch.randn(5, 8), torch.randint(0, 3, (5,)))])
    hessian = ls.Hessian(objective, "linearized")
    hessian @ gaussian(objective)
    with Counting() as counting:
        hessian @ gaussian(objective)
    matrix_products = sum(counting.counts.get(name, 0) for name in ("mm", "addmm", "addmm_"))
    # By layer: forward 2 (first 1), by the input 2 (first none), by the weights 2 (first 1). A gradient takes 3, 3, 2.
    assert matrix_products == 14
    assert "relu" not in counting.counts and "_log_softmax" not in counting.counts


def test_a_norm_after_a_convolution_costs_nothing_of_the_size_of_an_image() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)).eval()
    data = [(torch.randn(9, 1, 8, 8), torch.randint(0, 3, (9,)))]
    objective = ls.Objective(model, nn.CrossEntropyLoss(), data)
    hessian = ls.Hessian(objective, "linearized")
    hessian @ gaussian(objective)
    largest = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.numel() >= 9 * 3 * 36 and result.dim() == 4:
                largest.append(str(function))
            return result

    with Sizes():
        hessian @ gaussian(objective)
    assert not [name for name in largest if "mul" in name or "batch_norm" in name], largest


def test_traces_serve_other_points() -> None:
    objective = problem("strided", 0, torch.float64)
    elsewhere = objective.at(objective.theta + 0.3)
    vector = gaussian(objective)
    ls.Hessian(objective, "linearized") @ vector
    traces = len(objective.graphs)
    result = ls.Hessian(elsewhere, "linearized") @ vector
    assert len(elsewhere.graphs) == traces == 2  # the last micro-batch is shorter
    expected = ls.Hessian(elsewhere, "double_backward") @ vector
    assert (result - expected).norm() <= 1e-12 * expected.norm()
    assert not torch.allclose(result, ls.Hessian(objective, "linearized") @ vector)


def test_other_statistics_of_the_norms_are_inputs_of_a_trace() -> None:
    objective = problem("strided", 0, torch.float64)
    vector = gaussian(objective)
    ls.Hessian(objective, "linearized") @ vector
    buffers = {"norm.running_mean": objective.buffers["norm.running_mean"] + 1}
    moved = objective.at(objective.theta, buffers)
    expected = ls.Hessian(moved, "double_backward") @ vector
    assert (ls.Hessian(moved, "linearized") @ vector - expected).norm() <= 1e-12 * expected.norm()


class Branching(nn.Linear):
    """Looks at its values."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.sin() if y.sum() > 0 else y.cos()


class Masked(nn.Linear):
    """Selects rows by their values."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y[y[:, 0] > 0].sum(0, keepdim=True).expand(len(x), -1).tanh()


@pytest.mark.parametrize("kind", [Branching, Masked])
def test_a_network_that_looks_at_values_is_not_traced(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    data = torch.randn(6, 3), torch.randint(0, 3, (6,))
    objective = ls.Objective(kind(3, 3), nn.CrossEntropyLoss(), [data])
    with pytest.raises(ls.InputError, match='use product="double_backward"'):
        ls.Hessian(objective, "linearized") @ torch.ones(12)
    monkeypatch.setattr("landscape.curvature.hessian.WORTH_TRACING", 0.0)
    automatic = ls.Hessian(objective)
    automatic @ torch.ones(12)
    assert automatic.chosen == "double_backward"


def test_auto_traces_what_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = problem("residual", 0, torch.float32)
    monkeypatch.setattr("landscape.curvature.hessian.WORTH_TRACING", 1e9)
    small = ls.Hessian(objective)
    assert small.chosen == "auto"
    small @ gaussian(objective)
    assert small.chosen == "double_backward"
    monkeypatch.setattr("landscape.curvature.hessian.WORTH_TRACING", 0.0)
    large = ls.Hessian(objective)
    large @ gaussian(objective)
    assert large.chosen == "linearized"


def test_a_trace_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = problem("mlp", 0, torch.float64)
    monkeypatch.setattr("landscape.curvature.hessian.WORTH_TRACING", 0.0)
    monkeypatch.setattr("landscape.curvature.linearized.batch_tensors", lambda *given: _halved(*given))
    hessian = ls.Hessian(objective)
    hessian @ gaussian(objective)
    assert hessian.chosen == "double_backward"
    with pytest.raises(ls.InputError, match=r"another function than the network.*use product="):
        ls.Hessian(objective, "linearized") @ gaussian(objective)


def test_products_that_are_little_but_rounding_are_compared_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).requires_grad_(True)
    data = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.long))]
    nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([8.0, -8.0])
    objective = ls.Objective(model, nn.CrossEntropyLoss(), data)
    compared = []

    def agree(found: Tensor, expected: Tensor) -> bool:
        compared.append(float(expected.norm()))
        return compared[-1] > 1e-3

    monkeypatch.setattr("landscape.curvature.hessian._agree", agree)
    assert torch.isfinite(ls.Hessian(objective, "linearized") @ torch.ones(14)).all()
    assert compared[0] < 1e-3 < compared[1]


def _halved(batch: tuple[Tensor, Tensor], denominator: float, objective: ls.Objective) -> list[Tensor]:
    return [*batch, torch.tensor(denominator / 2, dtype=objective.dtype)]


def test_differences_warn_where_they_are_another_matrix() -> None:
    torch.manual_seed(0)
    data = torch.randn(40, 8), torch.randint(0, 3, (40,))
    kinked = ls.Objective(models.mlp((8, 20, 20, 3), "relu"), nn.CrossEntropyLoss(), [data])
    with pytest.warns(UserWarning, match="piecewise linear"):
        ls.Hessian(kinked, "finite_difference") @ gaussian(kinked)
    smooth = ls.Objective(models.mlp((8, 20, 20, 3), "tanh"), nn.CrossEntropyLoss(), [data])
    hessian = ls.Hessian(smooth, "finite_difference")
    expected = ls.Hessian(smooth) @ gaussian(smooth)
    assert (hessian @ gaussian(smooth) - expected).norm() <= 3e-3 * expected.norm()
    assert 0.999 < hessian._way().cosine <= 1 + 1e-12  # type: ignore[attr-defined]


def test_a_budget_is_read_and_checked() -> None:
    objective = cases()["mlp"].objective()
    assert ls.Hessian(objective, memory_budget="1 GiB")._budget == 2**30
    with pytest.raises(ls.InputError, match="memory_budget"):
        ls.Hessian(objective, memory_budget="much")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_products_agree() -> None:
    objective = problem("strided", 0, torch.float64)
    expected = ls.Hessian(objective, "double_backward") @ gaussian(objective)
    result = ls.Hessian(objective, "compiled") @ gaussian(objective)
    assert (result - expected).norm() <= 1e-10 * expected.norm()


def test_without_a_compiler_products_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **options: object) -> object:
        def call(*inputs: object) -> object:
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    objective = problem("mlp", 0, torch.float64)
    with pytest.warns(UserWarning, match="without compilation"):
        result = ls.Hessian(objective, "compiled") @ gaussian(objective)
    expected = ls.Hessian(objective, "double_backward") @ gaussian(objective)
    assert (result - expected).norm() <= 1e-10 * expected.norm()


class Once(torch.autograd.Function):
    """The identity, of which torch knows one derivative by reverse mode and nothing else."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        return slope.clone()


class OnceLayer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x)


@pytest.mark.parametrize("product", ["linearized", "forward_over_reverse", "double_backward"])
def test_the_layer_without_a_derivative_is_named(product: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), OnceLayer(), nn.Tanh(), nn.Linear(3, 3))
    objective = ls.Objective(model, nn.CrossEntropyLoss(), [(torch.randn(6, 3), torch.randint(0, 3, (6,)))])
    with pytest.raises(ls.InputError, match=r"layer 1 \(OnceLayer\).*use product="):
        ls.Hessian(objective, product) @ torch.ones(24)
    assert torch.isfinite(ls.Hessian(objective, "finite_difference") @ torch.ones(24)).all()


def test_half_precision_says_how_far_off_it_is() -> None:
    objective = problem("tokens", 0, torch.float32)
    reduced = ls.Hessian(objective, precision="bfloat16")
    vector = gaussian(objective)
    expected = ls.Hessian(objective) @ vector
    distance = float((reduced @ vector - expected).norm() / expected.norm())
    assert 1e-4 < distance < 0.05
    assert distance / 5 < reduced.deviation < 5 * distance
    facts = reduced.facts()
    assert facts["product"] == "linearized" and facts["precision"] == "bfloat16"
    assert facts["deviation"] == reduced.deviation and facts["preparation_seconds"] > 0
    assert ls.Hessian(objective).facts()["deviation"] == 0


def test_precisions_that_cannot_be_had_are_refused() -> None:
    objective = problem("mlp", 0, torch.float32)
    with pytest.raises(ls.InputError, match="choose bfloat16 or tf32"):
        ls.Hessian(objective, precision="half")
    with pytest.raises(ls.InputError, match="needs an NVIDIA GPU"):
        ls.Hessian(objective, precision="tf32")
    with pytest.raises(ls.InputError, match="is for the products"):
        ls.Hessian(objective, "double_backward", precision="bfloat16")


@pytest.mark.parametrize("product", EXACT)
def test_a_product_waits_for_the_device_as_often_for_many_micro_batches_as_for_two(product: str) -> None:
    torch.manual_seed(0)
    data = torch.randn(24, 8), torch.randint(0, 3, (24,))
    waits = []
    for size in (12, 2):
        objective = ls.Objective(models.mlp((8, 6, 3), "tanh"), nn.CrossEntropyLoss(), data, micro_batch=size)
        hessian = ls.Hessian(objective, product)
        hessian.apply(gaussian(objective))
        with Counting() as counting:
            hessian.apply(gaussian(objective))
        waits.append(counting.counts.get("_local_scalar_dense", 0))
    assert waits[0] == waits[1] <= 4


def test_a_subclass_with_a_product_of_its_own_is_heard() -> None:
    class Doubled(ls.Hessian):
        def batch_product(self, batch: object, denominator: float, vector: Tensor) -> Tensor:
            return 2 * super().batch_product(batch, denominator, vector)  # type: ignore[arg-type]

    objective = problem("mlp", 0, torch.float64)
    vector = gaussian(objective)
    assert torch.equal(Doubled(objective) @ vector, 2 * (ls.Hessian(objective) @ vector))
