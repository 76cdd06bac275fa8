"""Checkpoints as training scripts write them; one that wants to run code is refused before it can."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from landscape.checkpoint_files import read_checkpoint
from landscape.errors import InputError

STATE = {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}


def prefixed(prefix):
    return {prefix + name: value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        prefixed("module."),
        prefixed("module._orig_mod."),
        {"state_dict": prefixed("model."), "epoch": 3},
        {"model": STATE, "optimizer": {"lr": 0.1}},
        {"model_state_dict": STATE},
    ],
    ids=["plain", "parallel", "compiled", "lightning", "model", "model_state_dict"],
)
def test_what_training_scripts_write(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt", STATE)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors_and_a_model_called_model(tmp_path):
    save_file(prefixed("model."), tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path / "a.safetensors", STATE).keys() == STATE.keys()
    own = prefixed("model.")  # here the prefix is the model's own
    assert read_checkpoint(tmp_path / "a.safetensors", own).keys() == own.keys()
    assert read_checkpoint(tmp_path / "a.safetensors").keys() == STATE.keys()  # of an unknown model


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    proof = tmp_path / "it-ran"
    torch.save({"state_dict": STATE, "extra": Malicious(proof)}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Malicious(proof)))
    for name in ("zip.pt", "raw.pt"):
        with pytest.raises(InputError, match=r"wants to run code.*refused.*save_file"):
            read_checkpoint(tmp_path / name, STATE)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")  # a whole module needs its class, which is code
    with pytest.raises(InputError, match=r"wants to run code"):
        read_checkpoint(tmp_path / "module.pt", STATE)
    assert not proof.exists()


def test_broken_files(tmp_path):
    torch.save(STATE, tmp_path / "a.pt")
    save_file(STATE, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for length in (0, 10, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path / name))} is (truncated|damaged)"):
                read_checkpoint(tmp_path / name, STATE)
    with pytest.raises(InputError, match="there is no file"):
        read_checkpoint(tmp_path / "none.pt", STATE)
    (tmp_path / "text.pt").write_text("my notes")
    with pytest.raises(InputError, match=r"text\.pt is no checkpoint"):
        read_checkpoint(tmp_path / "text.pt", STATE)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds a list, not a dictionary of named tensors"):
        read_checkpoint(tmp_path / "list.pt", STATE)
    torch.save({**STATE, "epoch": 3}, tmp_path / "mixed.pt")
    with pytest.raises(InputError, match=r"more than tensors \(epoch\)"):
        read_checkpoint(tmp_path / "mixed.pt", STATE)
