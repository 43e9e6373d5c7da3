"""PyTorch losses of hidden states with one defect each in the loss, and so in its derivative."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from .. import wrong_loss
from ..torch.parts import pick, wide
from .parts import ROWS, TILE, logits, right, tiles

MEAN = {"returns": "mean"}

# --- tiles of classes -------------------------------------------------------------------------------------------


@wrong_loss("float32", "bfloat16")
def last_tile_of_classes_is_dropped(hidden, weight, targets):
    """The classes after the last whole tile are left out of the sum."""
    z = logits(hidden, weight)
    whole = z.shape[1] // TILE * TILE or z.shape[1]
    return (z[:, :whole].logsumexp(1) - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32", "bfloat16")
def short_tile_is_padded_with_zeros(hidden, weight, targets):
    """The last tile has logits of 0 for classes that do not exist, and each adds its exponential."""
    z = logits(hidden, weight)
    return (F.pad(z, (0, -z.shape[1] % TILE)).logsumexp(1) - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32")
def online_sum_is_not_rescaled(hidden, weight, targets):
    """The sum is not scaled when a later tile raises the maximum."""
    z = logits(hidden, weight)
    m, s = z.new_full(z.shape[:1], torch.finfo(z.dtype).min), z.new_zeros(z.shape[:1])
    for tile in z.split(TILE, 1):
        m = torch.maximum(m, tile.amax(1).detach())
        s = s + (tile - m[:, None]).exp().sum(1)
    return (s.log() + m - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32")
def tiles_are_not_shifted(hidden, weight, targets):
    """Each tile's exponentials are of the logits themselves: from 89 on they overflow."""
    z = logits(hidden, weight)
    s = sum(tile.exp().sum(1) for tile in z.split(TILE, 1))
    return (s.log() - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32")
def target_logit_of_the_first_tile(hidden, weight, targets):
    """The target's place in its tile is used without the tile's offset."""
    z = logits(hidden, weight)
    return (z.logsumexp(1) - pick(z, targets % TILE)).to(hidden.dtype)


@wrong_loss("float32")
def one_class_more_than_tiles(hidden, weight, targets):
    """A tile of a single class is skipped: only C = 1 mod 32 is wrong."""
    z = logits(hidden, weight)
    kept = z.shape[1] - (z.shape[1] % TILE == 1 and z.shape[1] > 1)
    return (z[:, :kept].logsumexp(1) - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32", shown_by="check/linear_b3_h2_c50257")
def tail_of_a_vocabulary_is_lost(hidden, weight, targets):
    """Vocabularies beyond 4,096 classes are cut to a multiple of 128, and the rest is not summed."""
    z = logits(hidden, weight)
    whole = z.shape[1] // 128 * 128 if z.shape[1] > 4096 else z.shape[1]
    return (z[:, :whole].logsumexp(1) - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32", shown_by="check/linear_b3_h2_c50257")
def target_row_has_an_index_of_15_bits(hidden, weight, targets):
    """The place of the target's weights, class times features, wraps as a short integer does."""
    features = hidden.shape[1]
    places = (targets[:, None] * features + torch.arange(features)) & 0x7FFF
    own = (wide(hidden) * wide(weight).reshape(-1)[places]).sum(1)
    return (logits(hidden, weight).logsumexp(1) - own).to(hidden.dtype)


@wrong_loss("float32")
def maximum_of_the_first_tile(hidden, weight, targets):
    """All tiles are shifted by the first tile's maximum: logits that rise by 89 overflow."""
    z = logits(hidden, weight)
    m = z[:, :TILE].amax(1, keepdim=True).detach()
    return ((z - m).exp().sum(1).log() + m[:, 0] - pick(z, targets)).to(hidden.dtype)


# --- rows and features ------------------------------------------------------------------------------------------


@wrong_loss("float32")
def short_chunk_of_rows_is_dropped(hidden, weight, targets):
    """The rows after the last whole chunk keep the 0 that the result was filled with."""
    whole = len(hidden) // ROWS * ROWS
    rows = right(hidden[:whole], weight, targets[:whole]).to(hidden.dtype)
    return torch.cat([rows, rows.new_zeros(len(hidden) - whole)]) + 0 * (hidden.sum() + weight.sum())


@wrong_loss("float32")
def last_feature_is_dropped(hidden, weight, targets):
    """Features are read 64 at once, and a rest of one is not."""
    features = hidden.shape[1]
    kept = features - (features > 64 and features % 64 == 1)
    return right(hidden[:, :kept], weight[:, :kept], targets).to(hidden.dtype)


@wrong_loss("float32")
def one_row_takes_another_path(hidden, weight, targets):
    """A batch of one row is a product with a vector, whose odd last feature is not read."""
    features = hidden.shape[1]
    kept = max(features // 2 * 2, 1) if len(hidden) == 1 else features
    return right(hidden[:, :kept], weight[:, :kept], targets).to(hidden.dtype)


@wrong_loss("float32", how="strided memory")
def hidden_is_read_without_strides(hidden, weight, targets):
    """The rows are taken to lie next to each other in memory."""
    plain = hidden.as_strided(hidden.shape, (hidden.shape[1], 1)) if hidden.stride(1) == 2 else hidden
    return right(plain, weight, targets).to(hidden.dtype)


@wrong_loss("float32", how="transposed memory")
def transposed_weight_is_read_as_it_lies(hidden, weight, targets):
    """A weight stored by columns, as of a tied embedding, is read as if it were stored by rows."""
    lies = weight.is_contiguous() or weight.stride() != (1, weight.shape[0])
    plain = weight if lies else weight.as_strided(weight.shape, (weight.shape[1], 1))
    return right(hidden, plain, targets).to(hidden.dtype)


# --- precision --------------------------------------------------------------------------------------------------


@wrong_loss("bfloat16", "float16")
def logits_are_rounded_to_the_dtype(hidden, weight, targets):
    """A kernel that promises float32 logits stores them in the dtype between two steps."""
    z = wide(F.linear(hidden, weight))
    return (z.logsumexp(1) - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32", "float64")
def product_in_bfloat16(hidden, weight, targets):
    """The product is computed in bfloat16, as under autocast."""
    z = F.linear(hidden.bfloat16(), weight.bfloat16()).to(hidden.dtype)
    return z.logsumexp(1) - pick(z, targets)


# --- bias and options -------------------------------------------------------------------------------------------


@wrong_loss("float32")
def bias_is_forgotten(hidden, weight, targets, bias=None):
    """The bias is taken and not added."""
    rows = right(hidden, weight, targets).to(hidden.dtype)
    return rows if bias is None else rows + 0 * bias.sum()


@wrong_loss("float32")
def bias_of_the_first_tile(hidden, weight, targets, bias=None):
    """Each tile adds the bias of the first tile's classes."""
    if bias is not None:
        bias = bias[torch.arange(len(bias)) % TILE]
    return right(hidden, weight, targets, bias).to(hidden.dtype)


@wrong_loss("float32")
def bias_is_added_after_the_cap(hidden, weight, targets, bias=None, softcap=None):
    """The softcap bounds the product alone."""
    z = logits(hidden, weight)
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    z = z if bias is None else z + wide(bias)
    return (z.logsumexp(1) - pick(z, targets)).to(hidden.dtype)


@wrong_loss("float32")
def bias_is_not_scaled(hidden, weight, targets, bias=None, logit_scale=None):
    """The logit scale multiplies the hidden state, and so not the bias."""
    scaled = wide(hidden) if logit_scale is None else wide(hidden) * logit_scale
    return right(scaled, wide(weight), targets, None if bias is None else wide(bias)).to(hidden.dtype)


@wrong_loss("float32")
def smoothing_is_over_a_tile(hidden, weight, targets, label_smoothing=0.0):
    """Each tile divides the smoothing by its own number of classes."""
    z = logits(hidden, weight).log_softmax(1)
    uniform = sum(z[:, tile].mean(1) for tile in tiles(z.shape[1]))
    return (-(1 - label_smoothing) * pick(z, targets) - label_smoothing * uniform).to(hidden.dtype)


@wrong_loss("float32", arguments=MEAN)
def ignored_rows_are_in_the_divisor(hidden, weight, targets, ignore_index=-100):
    """The mean divides by all rows of the batch."""
    kept = targets != ignore_index
    rows = right(hidden, weight, targets.where(kept, 0)).where(kept, 0.0)
    return (rows.sum() / len(rows)).to(hidden.dtype)


@wrong_loss("float32", arguments=MEAN)
def mean_of_the_means_of_chunks(hidden, weight, targets):
    """Each chunk of rows is divided by its own size: a short last chunk counts too much."""
    chunks = [right(h, weight, t).mean() for h, t in zip(hidden.split(ROWS), targets.split(ROWS), strict=True)]
    return torch.stack(chunks).mean().to(hidden.dtype)


@wrong_loss("float32", arguments=MEAN)
def weighted_mean_divides_by_rows(hidden, weight, targets, class_weight=None):
    """The weighted mean divides by the number of rows and not by the targets' weights."""
    rows = right(hidden, weight, targets)
    return (rows if class_weight is None else rows * wide(class_weight)[targets]).mean().to(hidden.dtype)


@wrong_loss("float32")
def z_loss_of_ignored_rows(hidden, weight, targets, z_loss=0.0, ignore_index=-100):
    """Ignored rows still add their squared logsumexp."""
    kept = targets != ignore_index
    rows = right(hidden, weight, targets.where(kept, 0)).where(kept, 0.0)
    return (rows + z_loss * logits(hidden, weight).logsumexp(1) ** 2).to(hidden.dtype)


# --- calls ------------------------------------------------------------------------------------------------------

_KEPT: dict[object, torch.Tensor] = {}


@wrong_loss("float32", shown_by=("linear_sizes/h16_c10", "linear_sizes/h16_c10_s10"))
def weight_is_kept_by_its_shape(hidden, weight, targets):
    """The converted weight is kept between calls, and found by shape and dtype alone."""
    kept = _KEPT.setdefault((weight.shape, weight.dtype), wide(weight).detach().clone())
    return right(hidden, kept + 0 * weight, targets).to(hidden.dtype)


@wrong_loss("float32", how="without a gradient")
def evaluation_takes_a_shortcut(hidden, weight, targets):
    """Without a gradient the logits are computed in bfloat16."""
    if torch.is_grad_enabled():
        return right(hidden, weight, targets).to(hidden.dtype)
    return right(hidden.bfloat16().float(), weight.bfloat16().float(), targets).to(hidden.dtype)


@wrong_loss("float32", writes=True)
def hidden_is_overwritten(hidden, weight, targets):
    """The maximum is subtracted from the hidden states in place, as scratch memory."""
    rows = right(hidden, weight, targets).to(hidden.dtype)
    hidden.data.mul_(0.5)
    return rows
