"""The training loop: it learns, it repeats itself to the bit, and it leaves no trace outside the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from landscape.zoo import models, readers
from landscape.zoo.training import train

BUILDERS = {
    "mlp": lambda seed: models.mlp((64, 28, 16, 10), "tanh", seed),
    "convolutional": lambda seed: models.convolutional(seed=seed),
    "residual": lambda seed: models.residual(seed=seed),
}


def images_and_labels():
    images, labels = readers.digits()
    return torch.from_numpy(images).float().div(16)[:, None], torch.from_numpy(labels).long()


@pytest.mark.parametrize(("name", "n"), [("mlp", 2454), ("convolutional", 2770), ("residual", 2546)])
def test_same_bits_for_any_number_of_threads_and_no_trace(name, n):
    inputs, targets = images_and_labels()
    global_state = torch.get_rng_state()
    threads = torch.get_num_threads()
    states = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            model = BUILDERS[name](3)
            train(model, cross_entropy, inputs, targets, epochs=1, lr=0.1, seed=3)
            assert torch.get_num_threads() == count
            states.append(model.state_dict())
    finally:
        torch.set_num_threads(threads)
    assert sum(parameter.numel() for parameter in model.parameters()) == n
    assert all(torch.equal(one, other) for one, other in zip(states[0].values(), states[1].values(), strict=True))
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), global_state)


def test_seeds_differ():
    for build in BUILDERS.values():
        assert not torch.equal(
            nn.utils.parameters_to_vector(build(0).parameters()), nn.utils.parameters_to_vector(build(1).parameters())
        )


def test_no_epochs_leave_the_model_alone():
    inputs, targets = images_and_labels()
    model = models.convolutional(seed=1)
    train(model, cross_entropy, inputs, targets, epochs=0, lr=0.1)
    for key, value in models.convolutional(seed=1).state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_the_minimum_of_ridge_regression(seed):
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(50, 3, generator=generator), torch.randn(50, 1, generator=generator)
    model = nn.Linear(3, 1, bias=False)
    train(model, mse_loss, inputs, targets, epochs=400, lr=0.1, batch=50, weight_decay=0.3, seed=seed)
    # The gradient of mean (xw − y)² + ½·0.3·‖w‖² vanishes there.
    expected = torch.linalg.solve(2 * inputs.T @ inputs / 50 + 0.3 * torch.eye(3), 2 * inputs.T @ targets / 50)
    torch.testing.assert_close(model.weight.detach().T, expected, rtol=1e-4, atol=1e-5)


def test_transformer_is_causal_and_tied():
    model = models.seeded(lambda: models.CharacterTransformer(11, 8), 0).double()
    tokens = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    before, after = model(tokens), model(other)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
    assert model.output.weight is model.embedding.weight


def test_attention_equals_the_library():
    attention = models.seeded(lambda: models.Attention(12, 3), 0).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    query, key, value = (
        part.unflatten(-1, (3, 4)).transpose(1, 2) for part in attention.query_key_value(x).chunk(3, -1)
    )
    expected = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(attention(x), attention.output(expected.transpose(1, 2).flatten(2)))
