"""PyTorch losses that each break one property, including those of options and signs."""

from __future__ import annotations

import torch

from .. import wrong_gradient, wrong_loss
from .parts import gradient_alone, onehot, pick, shift, shifted, value_alone, wide

FEW = ("check/width_5", "check/gaps_2")


@wrong_loss("float32", breaks="finite where the answer is", shown_by=FEW)
@value_alone
def log_of_a_difference(x, t):
    """The sum of the others is the whole sum less the target's term, which can round to 0."""
    e = shift(x).double().exp()
    return ((e.sum(1) - pick(e, t)).float() / pick(e, t).float()).log().exp().log1p() if len(x) else shifted(x, t)


@wrong_loss("float32", breaks="large vocabularies", shown_by=("check/width_1025", "check/width_5"))
@value_alone
def vocabularies_by_a_sample(x, t):
    """With 1,000 classes or more every hundredth is left out of the sum."""
    kept = torch.arange(x.shape[1]) % 100 != 7
    s = shift(x)
    return (s.exp() * (kept if x.shape[1] >= 1000 else torch.ones_like(kept))).sum(1).log() - pick(s, t)


@wrong_loss("float32", breaks="rows independent of their order", shown_by="check/width_6")
def second_of_a_pair(x, t):
    """A thread has two rows, and the loss of the second is a hundredth too large."""
    return shifted(x, t) * torch.where(torch.arange(len(x)) % 2 == 1, 1.01, 1.0)


@wrong_loss("float32", breaks="classes in any order", shown_by="check/width_6")
@value_alone
def class_zero_is_no_target(x, t):
    """A target of 0 is treated as missing, and its loss is a hundredth too small."""
    return shifted(x, t) * torch.where(t == 0, 0.99, 1.0)


_calls = [0]


@wrong_loss("float32", breaks="deterministic", shown_by=FEW)
def a_little_more_each_time(x, t):
    """An accumulator is kept between calls: each loss is too large by a millionth of the number of calls."""
    _calls[0] += 1
    return shifted(x, t) * (1 + 1e-6 * _calls[0])


# --- signs, which the bounds of a coarse dtype leave open ---------------------------------------------------------


@wrong_loss("bfloat16", breaks="signs", shown_by=FEW)
@value_alone
def sum_is_short(x, t):
    """A thousandth of the sum is lost: log p is above 0 for a row with an almost certain target."""
    s = shift(x)
    return (s.exp().sum(1) * 0.999).log() - pick(s, t)


@wrong_gradient("bfloat16", breaks="signs", shown_by=FEW)
@gradient_alone
def sure_targets_are_pushed_down(x, t, p, upstream):
    """Probabilities are two thousandths too large: an almost certain target is pushed down."""
    return (p * 1.002 - onehot(t, p)) * upstream[:, None]


# --- loss options -------------------------------------------------------------------------------------------------


@wrong_loss("float32", seen="NVIDIA/Megatron-LM#737", breaks="with label_smoothing", shown_by="check/label_smoothing_*")
def smoothed_over_half_of_the_classes(x, t, *, label_smoothing=0.0):
    """Each of two ranks treats its half of the classes as all classes."""
    log_p = wide(x).log_softmax(1)
    half = max(x.shape[1] // 2, 1)
    spread = -log_p[:, :half].mean(1) if label_smoothing else 0.0
    return (1 - label_smoothing) * shifted(x, t) + label_smoothing * spread


@wrong_loss("float32", breaks="with weight", shown_by="check/weight_*")
def first_weight_for_all(x, t, weight=None):
    """Every row has the weight of the first class."""
    return shifted(x, t) * (1.0 if weight is None else weight[0])


@wrong_loss("float32", breaks="with ignore_index", shown_by="check/ignore_index_*")
def only_minus_100_is_ignored(x, t, ignore_index=-100):
    """Rows are ignored by the default index, even if another is given."""
    counts = t != -100
    return torch.where(counts, shifted(x, torch.where(counts, t, 0)), 0.0)


@wrong_loss("float32", breaks="with reduction", shown_by="check/mean_*")
def mean_of_one_row_less(x, t, *, reduction="none"):
    """The mean divides by the number of rows less one, like a sample variance."""
    rows = shifted(x, t)
    return rows if reduction == "none" else rows.sum() / (max(len(x) - 1, 1) if reduction == "mean" else 1)


@wrong_loss("float32", seen="NVIDIA/TransformerEngine#2476", shown_by="check/*mean_*")
def mean_over_ignored_rows(x, t, *, ignore_index=-100, reduction="none"):
    """The mean divides by the ignored rows too."""
    counts = t != ignore_index
    rows = torch.where(counts, shifted(x, torch.where(counts, t, 0)), 0.0)
    return {"none": lambda: rows, "sum": rows.sum, "mean": rows.mean}[reduction]()


@wrong_loss("float32", seen="unslothai/unsloth#10616", breaks="with softcap", shown_by="check/softcap_*")
def padding_is_capped(x, t, *, softcap=None):
    """The lanes that pad a row to a power of two are capped from -inf to -softcap and enter the sum."""
    padded = torch.nn.functional.pad(x, (0, (1 << (x.shape[1] - 1).bit_length()) - x.shape[1]), value=float("-inf"))
    return shifted(padded if softcap is None else softcap * torch.tanh(padded / softcap), t)


@wrong_gradient("float32", breaks="with logit_scale", shown_by="check/logit_scale_*")
def scale_is_left_out_of_the_gradient(x, t, *, logit_scale=None):
    """The gradient is that of the scaled logits."""
    scaled = x if logit_scale is None else logit_scale * x.detach() + (x - x.detach()).nan_to_num()
    return shifted(scaled, t)


@wrong_loss("float32", breaks="with z_loss", shown_by="check/z_loss_*")
def z_loss_of_the_shifted_sum(x, t, *, z_loss=0.0):
    """The squared logsumexp is that of the shifted logits."""
    return shifted(x, t) + z_loss * shift(x).logsumexp(1) ** 2
