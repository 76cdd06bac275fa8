"""Data of the reference objectives as NumPy arrays: digits from the package, MNIST and a text from files."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError

# The third byte of an IDX file; all numbers are big-endian (http://yann.lecun.com/exdb/mnist).
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MNIST_NAMES = {"train": "train", "test": "t10k"}


def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The 1797 handwritten digits that come with the package.

    Returns
    -------
    images : ndarray of uint8, (1797, 8, 8)
        0 (paper) to 16 (ink).
    labels : ndarray of uint8, (1797,)
        0 to 9.
    """
    with as_file(files("landscape.zoo") / "data" / "digits.npz") as path, np.load(path) as arrays:
        return arrays["images"], arrays["labels"]


def locate(relative: str, given: str | os.PathLike[str] | None, argument: str) -> Path:
    """The file or folder that holds a data set: what was given, or ``relative`` inside ``LANDSCAPE_DATA``.

    Parameters
    ----------
    relative : str
        Such as ``"mnist"``.
    given : path, optional
        What the caller was told; it comes first.
    argument : str
        The caller's name for ``given``, for the message.

    Returns
    -------
    pathlib.Path
        Exists.

    Raises
    ------
    InputError
        If nothing was given and ``LANDSCAPE_DATA`` is not set, or if the path does not exist.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists():
            raise InputError(f"{argument}={str(path)!r} does not exist.")
        return path
    folder = os.environ.get("LANDSCAPE_DATA")
    if not folder:
        raise InputError(
            f"No data: give {argument}=..., or set the environment variable LANDSCAPE_DATA "
            f"to a folder that holds {relative}."
        )
    path = Path(folder).expanduser() / relative
    if not path.exists():
        raise InputError(f"LANDSCAPE_DATA={folder!r} does not hold {relative}; put it there or give {argument}=...")
    return path


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """One IDX file, packed with gzip or not.

    Parameters
    ----------
    path : path
        The file; packing is recognized from its content.

    Returns
    -------
    ndarray
        Of the type and shape that the header states, native byte order.

    Raises
    ------
    InputError
        If the file is missing, is no IDX file, is damaged, or is shorter or longer than its header says.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is a damaged or truncated gzip file ({error}). Fetch it again.") from error
    kind, axes = (content[2], content[3]) if len(content) >= 4 and content[:2] == b"\0\0" else (None, 0)
    if kind not in _IDX_TYPES or not axes:
        raise InputError(f"{path} is not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}.")
    start = 4 + 4 * axes
    if len(content) < start:
        raise InputError(f"{path} is truncated: its header ends after {len(content)} of {start} bytes.")
    shape = struct.unpack(f">{axes}I", content[4:start])
    dtype = np.dtype(_IDX_TYPES[kind])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise InputError(f"{path} is {state}: {len(content)} bytes, its header asks for {expected} (shape {shape}).")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def mnist(
    folder: str | os.PathLike[str] | None = None, split: str = "test"
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """MNIST from its IDX files, ``train-images-idx3-ubyte`` or ``t10k-...``, with or without ``.gz``.

    Parameters
    ----------
    folder : path, optional
        Where the files are. Default: ``mnist`` inside ``LANDSCAPE_DATA``.
    split : {"test", "train"}
        10 000 or 60 000 images.

    Returns
    -------
    images : ndarray of uint8, (N, 28, 28)
    labels : ndarray of uint8, (N,)

    Raises
    ------
    InputError
        If a file is missing, damaged, or not what its name says.
    """
    if split not in _MNIST_NAMES:
        raise InputError(f"split={split!r} is none of MNIST's: {', '.join(_MNIST_NAMES)}.")
    place = locate("mnist", folder, "folder")
    arrays = []
    for content, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        name = f"{_MNIST_NAMES[split]}-{content}-ubyte"
        path = next((found for found in (place / name, place / f"{name}.gz") if found.exists()), None)
        if path is None:
            raise InputError(f"{place} holds neither {name} nor {name}.gz (split={split!r}).")
        array = read_idx(path)
        if array.ndim != axes or array.dtype != np.uint8:
            raise InputError(f"{path} holds {array.dtype} of shape {array.shape}; expected uint8 with {axes} axes.")
        arrays.append(array)
    images, labels = arrays
    if len(images) != len(labels):
        raise InputError(f"{place}: {len(images)} images but {len(labels)} labels (split={split!r}).")
    if not len(labels) or labels.max() > 9:
        raise InputError(f"{place}: the labels of split={split!r} are not the digits 0 to 9.")
    return images, labels


def characters(
    path: str | os.PathLike[str] | None = None, context: int = 32, windows: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """A text as windows of character numbers, for predicting the next character.

    Parameters
    ----------
    path : path, optional
        A UTF-8 text. Default: ``tinyshakespeare/input.txt`` inside ``LANDSCAPE_DATA``.
    context : int
        Length T of a window.
    windows : int, optional
        How many, spread evenly over the text. Default: all that do not overlap.

    Returns
    -------
    inputs : ndarray of int64, (W, T)
        Positions in the vocabulary.
    targets : ndarray of int64, (W, T)
        Each input's successor.
    vocabulary : str
        The text's characters, sorted.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 or is shorter than what was asked for.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "text.txt")
    >>> _ = file.write_text("abcabc")
    >>> inputs, targets, vocabulary = characters(file, context=2)
    >>> inputs.tolist(), targets.tolist(), vocabulary
    ([[0, 1], [2, 0]], [[1, 2], [0, 1]], 'abc')
    """
    if context < 1:
        raise InputError(f"context={context}: a window has at least one character.")
    file = locate("tinyshakespeare/input.txt", path, "path")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a UTF-8 text: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror}.") from error
    available = (len(text) - 1) // context
    count = available if windows is None else windows
    if available < 1 or not 1 <= count <= available:
        raise InputError(
            f"{file} has {len(text)} characters, which make {max(available, 0)} windows of {context} and a successor; "
            f"{count} asked for."
        )
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    known, tokens = np.unique(codes, return_inverse=True)
    starts = np.arange(count) * available // count * context
    positions = starts[:, None] + np.arange(context)
    tokens = tokens.astype(np.int64)
    return tokens[positions], tokens[positions + 1], "".join(map(chr, known))
