"""PyTorch losses with one defect each in how a kernel cuts rows into tiles."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .. import wrong_loss
from .parts import INF, pick, shift, shifted, value_alone, wide


def lowest(x: Tensor) -> float:
    return torch.finfo(x.dtype).min


# --- the last tile ----------------------------------------------------------------------------------------------


@wrong_loss("float32", "bfloat16", seen="verl-project/verl#2899")
def last_tile_reads_zeros(x, t, block=16):
    """Beyond the row's end a tile reads 0 instead of -inf, and each 0 adds its exponential."""
    m = wide(x).amax(1, keepdim=True).detach()
    terms = (F.pad(wide(x), (0, -x.shape[1] % block)) - m).exp()
    return (terms.sum(1).log() - pick(wide(x) - m, t)).to(x.dtype)


@wrong_loss("float32", shown_by="check/width_1025")
def last_tile_is_not_summed(x, t, block=1024):
    """In a row wider than a tile the classes after the last whole tile are left out of the sum."""
    whole = x.shape[1] // block * block or x.shape[1]
    s = shift(x)
    return s[:, :whole].exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", shown_by="check/width_65537")
def last_tile_of_a_vocabulary_reads_zeros(x, t, block=32768):
    """Like small tiles, but a row narrower than one tile takes a separate path that is right."""
    lack = -x.shape[1] % block if x.shape[1] > block else 0
    m = x.amax(1, keepdim=True).detach()
    return (F.pad(x, (0, lack)) - m).exp().sum(1).log() - pick(x - m, t)


@wrong_loss("float32", shown_by="check/width_65537")
def only_the_first_65536_classes(x, t):
    """A row is one block of at most 65,536 numbers: further classes of a wider vocabulary are never read."""
    s = shift(x)
    return s[:, :65536].exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", shown_by="check/width_192")
def a_whole_number_of_tiles_loses_one(x, t, block=96):
    """The loop ends before the last tile if that is whole; a tile of 96 divides no power of two."""
    whole = x.shape[1] > block and x.shape[1] % block == 0
    s = shift(x)
    return s[:, : x.shape[1] - block * whole].exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", shown_by="check/width_65537")
def vocabularies_are_read_in_bfloat16(x, t):
    """Rows beyond 60,000 classes are read in bfloat16, to fit."""
    return shifted(x.bfloat16().float() if x.shape[1] > 60_000 else x, t)


@wrong_loss("float32")
def odd_class_is_dropped(x, t):
    """Numbers are read in pairs, and the last one of an odd row is not summed."""
    s = shift(x)
    return s[:, : max(x.shape[1] // 2 * 2, 1)].exp().sum(1).log() - pick(s, t)


# --- the maximum and the sum of a row, tile by tile -------------------------------------------------------------


@wrong_loss("float32", "float16", shown_by="check/width_9")
def sum_is_not_rescaled(x, t, block=8):
    """The online softmax does not scale the sum down when a later tile raises the maximum."""
    x = wide(x)
    m, s = x.new_full(x.shape[:1], lowest(x)), x.new_zeros(x.shape[:1])
    for tile in x.split(block, 1):
        m = torch.maximum(m, tile.amax(1).detach())
        s = s + (tile - m[:, None]).exp().sum(1)
    return s.log() - (pick(x, t) - m)


@wrong_loss("float32", shown_by="check/width_1025")
def last_tile_is_not_rescaled(x, t, block=1024):
    """The sum is scaled between tiles, but not for a maximum in the last of several tiles."""
    parts = x.split(block, 1)
    m, s = x.new_full(x.shape[:1], lowest(x)), x.new_zeros(x.shape[:1])
    for i, tile in enumerate(parts):
        new = torch.maximum(m, tile.amax(1).detach())
        scale = torch.ones_like(m) if i == len(parts) - 1 > 0 else (m - new).exp()
        m, s = new, s * scale + (tile - new[:, None]).exp().sum(1)
    return s.log() - (pick(x, t) - m)


@wrong_loss("float32", shown_by="order/steep_ascending")
def maximum_of_the_first_tile(x, t, block=128):
    """Shifted by the first tile's maximum: a later logit that is larger by 89 overflows."""
    s = x - x[:, :block].amax(1, keepdim=True).clamp(min=lowest(x)).detach()
    return s.exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", "float64")
def maximum_starts_at_zero(x, t):
    """The running maximum starts at 0: all exponentials of large negative logits underflow."""
    s = x - x.amax(1, keepdim=True).clamp(min=0).detach()
    return s.exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", "bfloat16")
def maximum_starts_at_minus_65504(x, t):
    """The running maximum starts at float16's lowest number, even if logits of another dtype are lower."""
    s = wide(x)
    s = s - s.amax(1, keepdim=True).clamp(min=-65504.0).detach()
    return (s.exp().sum(1).log() - pick(s, t)).to(x.dtype)


@wrong_loss("float32", "float64", seen="manassharma07/crysx_nn#7")
def maximum_of_sixteen_rows(x, t):
    """The rows of one block share their maximum."""
    m = torch.cat([part.amax().expand(len(part)) for part in x.split(16)]) if len(x) else x.amax(1)
    s = x - m.detach()[:, None]
    return s.exp().sum(1).log() - pick(s, t)


@wrong_loss("float32")
def halves_of_masks_merged(x, t):
    """The two halves of a row are merged without a guard for a half that is entirely -inf: -inf - -inf."""
    if x.shape[1] < 2:
        return shifted(x, t)
    halves = [(h.amax(1).detach(), h) for h in x.tensor_split(2, 1)]
    sums = [(h - m[:, None]).exp().sum(1) for m, h in halves]
    (a, _), (b, _) = halves
    m = torch.maximum(a, b)
    return (sums[0] * (a - m).exp() + sums[1] * (b - m).exp()).log() - (pick(x, t) - m)


@wrong_loss("float32")
def a_masked_quarter_that_is_not_the_first(x, t, parts=4):
    """Only the first part of a row is guarded against being entirely -inf."""
    m = s = None
    for tile in x.tensor_split(min(parts, x.shape[1]), 1):
        own = tile.amax(1).detach()
        own = own.clamp(min=lowest(x)) if m is None else own
        total = (tile - own[:, None]).exp().sum(1)
        if m is None:
            m, s = own, total
            continue
        new = torch.maximum(m, own)
        m, s = new, s * (m - new).exp() + total * (own - new).exp()
    return s.log() - (pick(x, t) - m)


@wrong_loss("float32")
@value_alone
def nan_is_not_larger(x, t):
    """A term counts if a comparison holds, which NaN fails: a NaN beside the target is lost."""
    s = x - torch.where(x > -INF, x, -INF).amax(1, keepdim=True)
    return torch.where(s <= 0, s, -INF).exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", shown_by="check/width_65")
@value_alone
def nan_behind_the_first_tile(x, t, block=64):
    """The first tile is summed completely; later tiles skip terms that fail a comparison, including NaN."""
    s = x - torch.where(x > -INF, x, -INF).amax(1, keepdim=True)
    rest = torch.where(s[:, block:] <= 0, s[:, block:], -INF)
    return (s[:, :block].exp().sum(1) + rest.exp().sum(1)).log() - pick(s, t)


# --- the target -------------------------------------------------------------------------------------------------


@wrong_loss("float32", shown_by="check/width_513")
def target_in_eight_bits(x, t):
    """Targets kept in an unsigned byte: class 256 becomes class 0."""
    return shifted(x, t & 0xFF)


@wrong_loss("float32", shown_by="check/width_50257")
def target_in_fifteen_bits(x, t):
    """Targets kept in 15 bits, enough for most vocabularies."""
    return shifted(x, t & 0x7FFF)


@wrong_loss("float32", shown_by="check/width_65537")
def target_in_sixteen_bits(x, t):
    """Targets kept in 16 bits, enough for nearly all vocabularies."""
    return shifted(x, t & 0xFFFF)


@wrong_loss("bfloat16", "float16", shown_by=("check/width_511", "check/width_4096"))
def target_in_the_logits_dtype(x, t):
    """Targets are stored in the logits' dtype, where not all integers above 256 or 2048 exist."""
    return shifted(x, t.to(x.dtype).long().clamp(max=x.shape[1] - 1))


@wrong_loss("float32", shown_by="check/width_513")
def target_of_the_last_tile_is_missed(x, t, block=512):
    """The test whether a tile holds the target misses a short last tile: the target's logit stays 0."""
    whole = x.shape[1] // block * block or x.shape[1]
    s = shift(x)
    return s.exp().sum(1).log() - torch.where(t < whole, pick(s, t), 0.0)


@wrong_loss("float32", breaks="last class")
def last_class_is_no_target(x, t):
    """A class index is clamped to one below the last class."""
    return shifted(x, t.clamp(max=max(x.shape[1] - 2, 0)))


@wrong_loss("float32")
def first_class_is_padding(x, t):
    """Class 0 is treated as padding, whose loss is 0."""
    return F.cross_entropy(x, t, reduction="none", ignore_index=0)


@wrong_loss("float32", shown_by="check/width_256")
def class_255_is_ignored(x, t):
    """An ignore_index from image segmentation, left on."""
    return F.cross_entropy(x, t, reduction="none", ignore_index=255)


@wrong_loss("float32", shown_by="check/width_50257")
def class_50256_is_padding(x, t):
    """The end-of-text token is also the padding: it is ignored even at the end of a text."""
    return F.cross_entropy(x, t, reduction="none", ignore_index=50256)


@wrong_loss("float32")
@value_alone
def target_by_its_logit(x, t):
    """The target is found by its logit's value: a class that ties with it counts as well."""
    hot = x == pick(x, t)[:, None]
    return torch.where(hot, -x.log_softmax(1), 0.0).sum(1)
