"""PyTorch losses whose bits depend on more than their row, and sound ones whose bits do not.

Most are right to a rounding, so that a check of grades passes them. `test_bitwise.py` compares their bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

from .. import sound, wrong_gradient, wrong_loss
from ..torch.parts import gradient_alone, onehot, pick, shifted


def in_halves(x, t):
    """The right loss, with the sum over the classes in two parts."""
    top = x.detach().amax(1, keepdim=True)
    e = (x - top).exp()
    half = x.shape[1] // 2
    return (e[:, half:].flip(1).sum(1) + e[:, :half].sum(1)).log() + top[:, 0] - pick(x, t)


def one_ulp_up(values, where):
    """Return the values, those of some rows moved to the next number."""
    return torch.where(where, torch.nextafter(values, torch.full_like(values, torch.inf)), values)


@wrong_loss("float32", breaks="among others")
def noise_depends_on_the_batch_size(x, t):
    """Rounding to a step that depends on the number of rows, as a kernel does whose tiles do."""
    rows = shifted(x, t)
    return one_ulp_up(rows, torch.full_like(rows, len(rows) % 7 == 0, dtype=torch.bool))


@wrong_loss("float32", breaks="alone")
def a_row_alone_is_summed_in_two_parts(x, t):
    """A small batch divides each row's sum, so that there is work for all cores."""
    return in_halves(x, t) if len(x) == 1 else shifted(x, t)


@wrong_loss("float32", breaks="position")
def odd_rows_are_summed_in_another_order(x, t):
    """A kernel takes two rows at once, the second one from the end."""
    odd = torch.arange(len(x)) % 2 == 1
    return torch.where(odd, in_halves(x, t), shifted(x, t))


@wrong_loss("float32", breaks="position")
def the_last_row_of_a_tile_takes_another_path(x, t):
    """Rows are taken by 16; the last of a tile is rounded otherwise."""
    rows = shifted(x, t)
    return one_ulp_up(rows, torch.arange(len(x)) % 16 == 15)


@wrong_loss("float32", breaks="neighbours")
def the_shift_is_the_largest_logit_of_the_batch(x, t):
    """A shift by the batch's maximum in float64: right, and another rounding beside larger neighbours."""
    top = x.detach().amax()
    e = (x.double() - top).exp().sum(1).log().to(x.dtype)
    return e + top - pick(x, t)


@wrong_gradient("float32", breaks="neighbours")
@gradient_alone
def the_gradient_depends_on_the_neighbours_by_one_ulp(x, t, p, upstream):
    """Beside a row with a large logit, all entries of a gradient are one ulp larger."""
    found = (p - onehot(t, p)) * upstream[:, None]
    return one_ulp_up(found, (x.amax() > 200) & (p < 1))


@wrong_loss("float32", breaks="threads")
def the_sum_has_a_part_for_each_thread(x, t):
    """With several threads the classes are divided among them."""
    return in_halves(x, t) if torch.get_num_threads() > 2 else shifted(x, t)


@wrong_loss("float32", breaks="repeated")
def the_last_bit_is_left_to_chance(x, t):
    """Atomic additions in any order."""
    rows = shifted(x, t)
    return one_ulp_up(rows, torch.rand(len(rows)) < 0.5)


@wrong_gradient("float32", breaks="repeated")
@gradient_alone
def the_gradients_last_bit_is_left_to_chance(x, t, p, upstream):
    """Atomic additions in any order, in the backward pass."""
    found = (p - onehot(t, p)) * upstream[:, None]
    return one_ulp_up(found, torch.rand(found.shape) < 0.01)


@sound("float32", "bfloat16")
def a_sum_in_a_fixed_order(x, t):
    """The sum over the classes as a tree that depends on their number only."""
    top = x.detach().amax(1, keepdim=True)
    width = 1 << (x.shape[1] - 1).bit_length()
    e = F.pad((x.float() - top).exp(), (0, width - x.shape[1]))
    while width > 1:
        width //= 2
        e = e[:, :width] + e[:, width:]
    return (e[:, 0].log() + top[:, 0] - pick(x, t)).to(x.dtype)


@sound("float32", "bfloat16")
def built_in(x, t):
    """PyTorch's loss, which gives each row to one thread."""
    return F.cross_entropy(x, t, reduction="none")
