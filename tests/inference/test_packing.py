"""Tokens come back from their stored columns to the last bit, whatever engine they came from."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import packing
from inference.answer import Tokens
from inference.packing import Packed
from inference.ragged import Ragged

ODD = [0.0, -0.0, -math.inf, -1e-45, -3.4e38, -1e-7, 5.0, -0.1]
floats = st.one_of(st.floats(max_value=0, allow_nan=False, width=32), st.sampled_from(ODD))
ids = st.integers(0, 2**32 - 1)


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    """Anything with arrays that fit each other; the sampled token is one of the alternatives, or not."""
    made = Tokens(draw(st.integers(0, 5)), "wire", [], [], [], [], [0])
    for _ in range(draw(st.integers(0, 8))):
        tops = draw(st.lists(st.tuples(ids, floats), max_size=6))
        made.top_ids.extend(token for token, _ in tops)
        made.top_logprobs.extend(logprob for _, logprob in tops)
        made.top_offsets.append(len(made.top_ids))
        is_inside: bool = draw(st.booleans())
        token, logprob = draw(st.sampled_from(tops) if tops and is_inside else st.tuples(ids, floats))
        made.ids.append(token)
        made.logprobs.append(logprob)
    return made


def pack(*made: Tokens) -> list[Packed]:
    return packing.pack(Ragged.of(made))


def plain(made: list[Packed]) -> list[list[Any]]:
    return [[np.asarray(value).tolist() for value in one.row] for one in made]


def bits(values: list[float]) -> list[bytes]:
    return [struct.pack("<f", value) for value in values]


def assert_same(found: Tokens, made: Tokens) -> None:
    assert (found.choice, found.source, found.ids) == (made.choice, made.source, made.ids)
    assert (found.top_ids, found.top_offsets) == (made.top_ids, made.top_offsets)
    assert bits(found.logprobs) == bits(made.logprobs)
    assert bits(found.top_logprobs) == bits(made.top_logprobs)


@given(tokens())
def test_every_float32_comes_back(made: Tokens) -> None:
    (packed,) = pack(made)
    assert len(packed.row) == len(packing.COLUMNS)
    assert all(-(2**31) <= one < 2**31 for one in (*packed.steps, *packed.outside_steps, *packed.rest))
    assert_same(packing.unpack(made.choice, made.source, packed.row), made)


@given(st.lists(tokens(), max_size=5))
def test_what_is_packed_of_one_hangs_on_no_other(made: list[Tokens]) -> None:
    assert plain(pack(*made)) == plain([pack(one)[0] for one in made])


def sixteen_bits(seed: int, n: int = 200, k: int = 5) -> Tokens:
    """As an engine makes them: log-softmax in float32 of logits in bfloat16; some sampled outside."""
    noise = np.random.default_rng(seed)
    logits = noise.normal(4, 4, (n, 500)).astype(np.float32)
    logits = (logits.view(np.int32) & -65536).view(np.float32)
    moved = logits - logits.max(axis=1, keepdims=True)
    logprobs = moved - np.log(np.exp(moved).sum(axis=1, keepdims=True))
    order = np.argsort(-logprobs, axis=1, kind="stable")[:, : k + 1]
    ranked = np.take_along_axis(logprobs, order, axis=1)
    place = noise.integers(0, k + 1, n)
    return Tokens(
        0,
        "wire",
        order[np.arange(n), place].tolist(),
        ranked[np.arange(n), place].tolist(),
        order[:, :k].ravel().tolist(),
        ranked[:, :k].ravel().tolist(),
        list(range(0, n * k + 1, k)),
    )


def test_logprobs_of_sixteen_bit_logits_are_steps() -> None:
    made = sixteen_bits(3)
    (packed,) = pack(made)
    assert len(packed.rest) == 0
    assert max(packed.steps) < 2**16
    assert list(packed.places).count(packing.OUTSIDE) == len(packed.outside_ids) > 0
    assert_same(packing.unpack(0, "wire", packed.row), made)


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": [1]},
        {"logprobs": []},
        {"top_offsets": [0, 2, 1]},
        {"top_offsets": [1, 1, 2]},
        {"top_ids": [1]},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    whole: dict[str, Any] = {
        "ids": [1, 2],
        "logprobs": [-1.0, -2.0],
        "top_ids": [1, 2],
        "top_logprobs": [-1.0, -2.0],
        "top_offsets": [0, 1, 2],
    }
    pack(Tokens(0, "wire", **whole))
    with pytest.raises(ValueError, match="a choice's"):
        pack(Tokens(0, "wire", **{**whole, **changes}))
