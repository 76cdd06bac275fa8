"""Readers against files written here byte by byte, and against files that are missing, foreign or damaged."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.zoo import readers


def idx(shape, payload, kind=0x08):
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + payload


def write_mnist(folder, images=2, labels=2, pack=False, prefix="t10k"):
    contents = {
        "images-idx3": idx((images, 2, 3), bytes(range(6 * images))),
        "labels-idx1": idx((labels,), bytes([7, 1, 2][:labels])),
    }
    for name, content in contents.items():
        path = folder / f"{prefix}-{name}-ubyte{'.gz' if pack else ''}"
        path.write_bytes(gzip.compress(content) if pack else content)
    return folder


@pytest.mark.parametrize("pack", [False, True])
def test_mnist_from_hand_made_files(tmp_path, monkeypatch, pack):
    (tmp_path / "mnist").mkdir()
    write_mnist(tmp_path / "mnist", pack=pack)
    monkeypatch.setenv("LANDSCAPE_DATA", str(tmp_path))
    images, labels = readers.mnist()
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert labels.tolist() == [7, 1]
    with pytest.raises(InputError, match=r"neither train-images-idx3-ubyte nor .*\.gz \(split='train'\)"):
        readers.mnist(split="train")


def test_wide_numbers_are_big_endian(tmp_path):
    (tmp_path / "numbers").write_bytes(idx((2, 1), struct.pack(">2i", -2, 70000), kind=0x0C))
    numbers = readers.read_idx(tmp_path / "numbers")
    assert numbers.tolist() == [[-2], [70000]]
    assert numbers.dtype.isnative


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it starts with nothing"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file: it starts with 89 50 4e 47"),
        (idx((2, 3), b"")[:7], "truncated: its header ends after 7 of 12 bytes"),
        (idx((2, 3), bytes(5)), r"truncated: 17 bytes, its header asks for 18 \(shape \(2, 3\)\)"),
        (idx((2, 3), bytes(7)), "too long: 19 bytes"),
        (gzip.compress(idx((200,), bytes(range(200))))[:100], "damaged or truncated gzip"),
        (gzip.compress(bytes(50))[:-8] + bytes(8), "damaged or truncated gzip"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 20, "damaged or truncated gzip"),
    ],
    ids=["empty", "picture", "header", "short", "long", "gzip cut", "gzip checksum", "gzip noise"],
)
def test_what_is_wrong_with_a_file(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        readers.read_idx(path)


def test_what_is_wrong_with_a_folder(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="2 images but 1 labels"):
        readers.mnist(write_mnist(tmp_path, labels=1))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx((2,), bytes(2)))
    with pytest.raises(InputError, match=r"t10k-images.* expected uint8 with 3 axes"):
        readers.mnist(tmp_path)
    with pytest.raises(InputError, match=r"folder='.*nowhere' does not exist"):
        readers.mnist(tmp_path / "nowhere")
    with pytest.raises(InputError, match="split='validation'"):
        readers.mnist(tmp_path, split="validation")
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    with pytest.raises(InputError, match=r"give folder=.*LANDSCAPE_DATA.*mnist"):
        readers.mnist()
    monkeypatch.setenv("LANDSCAPE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"does not hold tinyshakespeare/input\.txt"):
        readers.characters()


@pytest.mark.parametrize("windows", [None, 1, 2, 3])
def test_windows_predict_the_next_character(tmp_path, windows):
    text = "Zürich ∂²L/∂θ² 𝛉"
    (tmp_path / "text").write_text(text, encoding="utf-8")
    inputs, targets, vocabulary = readers.characters(tmp_path / "text", context=5, windows=windows)
    assert vocabulary == "".join(sorted(set(text)))
    assert inputs.shape == targets.shape == (windows or 3, 5)
    for given, wanted in zip(inputs, targets, strict=True):
        seen = "".join(vocabulary[i] for i in [*given, wanted[-1]])
        assert seen in text
        assert (given[1:] == wanted[:-1]).all()


def test_what_is_wrong_with_a_text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"abc\xff")
    with pytest.raises(InputError, match=r"not a UTF-8 text: .* at byte 3"):
        readers.characters(path, context=2)
    path.write_text("abc")
    with pytest.raises(InputError, match=r"3 characters, which make 1 windows of 2 .* 4 asked for"):
        readers.characters(path, context=2, windows=4)
    with pytest.raises(InputError, match="make 0 windows"):
        readers.characters(path, context=3)
    with pytest.raises(InputError, match="context=0"):
        readers.characters(path, context=0)


@pytest.mark.skipif("LANDSCAPE_DATA" not in os.environ, reason="needs LANDSCAPE_DATA")
def test_the_real_files():
    images, labels = readers.mnist()
    assert images.shape == (10000, 28, 28)
    # The class counts of MNIST's test set.
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    inputs, _, vocabulary = readers.characters()
    assert len(vocabulary) == 65
    assert "".join(vocabulary[i] for i in inputs[0, :13]) == "First Citizen"
