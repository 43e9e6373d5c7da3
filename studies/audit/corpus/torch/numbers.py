"""PyTorch losses with one numerical defect each."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

from .. import wrong_loss
from .parts import INF, onehot, pick, shift, shifted, value_alone, wide

# --- precision --------------------------------------------------------------------------------------------------


@wrong_loss("float64")
@value_alone
def float64_through_float32(x, t):
    """The shifted logits are float32 for every dtype."""
    s = shift(x)
    return s.float().exp().sum(1).log().to(x.dtype) - pick(s, t)


@wrong_loss("float32")
def result_through_bfloat16(x, t):
    """The losses are rounded to bfloat16 before they are returned."""
    return shifted(x, t).bfloat16().to(x.dtype)


@wrong_loss("float32")
def logits_through_bfloat16(x, t):
    """The logits are rounded to bfloat16 first."""
    return shifted(x.bfloat16().to(x.dtype), t)


@wrong_loss("float32")
@value_alone
def logits_with_ten_bits(x, t):
    """The logits keep 10 bits of their mantissa, as a TF32 product leaves them."""
    return shifted((x.view(torch.int32) & ~0x1FFF).view(torch.float32), t)


@wrong_loss("float32")
@value_alone
def logits_through_float16(x, t):
    """Shifted logits go through float16, where those below -65,504 become -inf and others lose digits."""
    return shifted(shift(x).half().float(), t)


@wrong_loss("bfloat16", "float16", seen="google-deepmind/optax#1020")
def normalizer_in_low_precision(x, t):
    """The log of the sum is rounded to the dtype with the maximum added, before the target logit is subtracted."""
    return wide(x).logsumexp(1).to(x.dtype) - pick(x, t)


@wrong_loss("float32", "float64")
def maximum_is_added_back(x, t):
    """The maximum is added back to log-sum-exp, less the unshifted target: the error grows with the logits."""
    return x.logsumexp(1) - pick(x, t)


@wrong_loss("float16", "bfloat16", shown_by="stagnation/*_257")
@value_alone
def sum_in_low_precision(x, t):
    """Terms are added one by one in the logits' dtype, where a sum soon stagnates."""
    terms = shift(x).exp().to(x.dtype)
    total = torch.zeros_like(terms[:, 0])
    for term in terms.unbind(1):
        total = total + term
    return wide(total).log() - pick(shift(x), t)


@wrong_loss("float32")
@value_alone
def tiles_summed_in_half(x, t, block=32):
    """Each tile's sum is stored in float16 before the sums are added in float32."""
    s = shift(x)
    return sum(part.exp().sum(1).half().float() for part in s.split(block, 1)).log() - pick(s, t)


@wrong_loss("float32")
@value_alone
def exponential_by_a_polynomial(x, t):
    """The exponential is a power of two times a cubic, right to four digits."""
    s = shift(x)
    y = (s / math.log(2)).clamp(min=-1000)
    f = y - y.floor()
    cubic = 1 + f * (0.695976 + f * (0.224940 + f * 0.079084))
    return (y.floor().exp2() * cubic).sum(1).log() - pick(s, t)


@wrong_loss("float32")
@value_alone
def exponential_has_a_bias(x, t):
    """Every exponential except the maximum's is too large by a relative 1e-5."""
    s = shift(x)
    return (s.exp() * torch.where(s == 0, 1.0, 1.00001)).sum(1).log() - pick(s, t)


@wrong_loss("float32")
@value_alone
def logarithm_of_two_is_short(x, t):
    """Uses exp2 and log2 with a ln 2 of four digits."""
    s = shift(x)
    return (s / 0.6931).exp2().sum(1).log2() * 0.6931 - pick(s, t)


@wrong_loss("float64")
@value_alone
def logarithm_of_two_is_of_float32(x, t):
    """Uses exp2 and log2 in float64 with ln 2 rounded to float32."""
    s, ln2 = shift(x), torch.tensor(math.log(2), dtype=torch.float32).item()
    return (s / ln2).exp2().sum(1).log2() * ln2 - pick(s, t)


@wrong_loss("float32", shown_by="stagnation/float32_2049")
@value_alone
def small_terms_are_skipped(x, t):
    """Terms below e^-15 are not added, however many there are."""
    s = shift(x)
    return torch.where(s < -15, 0.0, s.exp()).sum(1).log() - pick(s, t)


@wrong_loss("float32", shown_by="check/width_1023")
@value_alone
def largest_thousand_classes(x, t):
    """Only the 1000 largest logits are summed."""
    s = shift(x)
    return s.topk(min(1000, x.shape[1]), 1).values.exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", shown_by="stagnation/float32_2049")
@value_alone
def terms_are_added_one_by_one(x, t):
    """All terms are added in turn to one float32 sum, without tiles or pairs: it rounds small terms away."""
    s = shift(x)
    return torch.from_numpy(s.exp().numpy().cumsum(1)[:, -1]).log() - pick(s, t)


# --- log, exp and their edges -----------------------------------------------------------------------------------


@wrong_loss("float32", "float64")
@value_alone
def log_of_the_smallest(x, t):
    """log(p + the smallest normal number) is accurate up to a loss of 87 in float32, and wrong beyond."""
    s = shift(x)
    found = s.exp().sum(1).log() - pick(s, t)
    return torch.where(found.isfinite(), -((-found).exp() + torch.finfo(x.dtype).tiny).log(), found)


@wrong_loss("float64")
@value_alone
def epsilon_in_the_sum(x, t):
    """log(sum + 1e-12), where the sum is never below 1: no digit of float32 is lost, three are of float64."""
    s = shift(x)
    return (s.exp().sum(1) + 1e-12).log() - pick(s, t)


@wrong_loss("float32", "float64")
@value_alone
def shifted_by_the_target(x, t):
    """The log of the summed exp(x_j - x_target) overflows for a target far below the maximum."""
    return (x - pick(x, t)[:, None]).exp().sum(1).log()


@wrong_loss("float32", "float64")
@value_alone
def shifted_by_the_largest_magnitude(x, t):
    """Shifted by the largest absolute value: all exponentials of large negative logits underflow."""
    s = x - x.masked_fill(x == -INF, 0).abs().amax(1, keepdim=True)
    return s.exp().sum(1).log() - pick(s, t)


@wrong_loss("float32", breaks="ties")
@value_alone
def ties_taken_out_of_the_sum(x, t):
    """log1p of the sum of the others, where all logits equal to the maximum are left out."""
    s = shift(x)
    return torch.where(s == 0, 0.0, s.exp()).sum(1).log1p() - pick(s, t)


@wrong_loss("float32", breaks="near-zero loss")
@value_alone
def near_zero_by_its_square(x, t):
    """Small losses use log(1 + r) = r - r^2 instead of r - r^2 / 2."""
    s = shift(x)
    r = s.exp().sum(1) - 1
    return torch.where(r < 0.01, r - r * r, r.log1p()) - pick(s, t)


@wrong_loss("float64")
@value_alone
def two_classes_by_softplus(x, t):
    """Two classes use softplus of their difference, which PyTorch replaces with the difference beyond 20."""
    if x.shape[1] != 2:
        return shifted(x, t)
    return torch.where(x.isinf().any(1), shifted(x, t), F.softplus(pick(x, 1 - t) - pick(x, t)))


@wrong_loss("float32")
@value_alone
def no_shift_where_none_seems_needed(x, t):
    """Rows within 50 of 0 are not shifted, although a probability may be e^-100."""
    p = x.exp() / x.exp().sum(1, keepdim=True)
    return torch.where((x.abs() < 50).all(1), -pick(p, t).log(), shifted(x, t))


@wrong_loss("float32")
@value_alone
def large_gaps_are_the_loss(x, t):
    """Beyond a gap of 12 the loss is set to the gap."""
    s = shift(x)
    return torch.where(pick(s, t) < -12, -pick(s, t), shifted(x, t))


@wrong_loss("float32", breaks="large logits")
@value_alone
def loss_ends_at_100(x, t):
    """The loss is clamped to 100, as a binary one's logarithm is."""
    found = shifted(x, t)
    return torch.where(found.isfinite(), found.clamp(max=100), found)


@wrong_loss("float32", breaks="infinite where the answer is")
@value_alone
def infinity_is_the_largest_number(x, t):
    """A masked target costs the largest finite number instead of infinity."""
    return shifted(x, t).clamp(max=torch.finfo(x.dtype).max)


@wrong_loss("float32", "bfloat16")
@value_alone
def masks_are_minus_1e9(x, t):
    """-inf is replaced by -1e9, the target's too."""
    return shifted(torch.where(x == -INF, -1e9, x), t)


@wrong_loss("bfloat16", "float32", shown_by="padding/beside_masks")
@value_alone
def masks_in_the_sum_are_minus_65504(x, t):
    """-inf is replaced by float16's lowest number in the sum alone: shown where the other logits are as low."""
    s = torch.where(x == -INF, -65504.0, wide(x))
    m = s.amax(1, keepdim=True)
    return (s - m).exp().sum(1).log() - (pick(wide(x), t) - m[:, 0])


@wrong_loss("float32")
@value_alone
def nan_is_zero(x, t):
    """NaN logits become 0."""
    return shifted(torch.where(x.isnan(), 0.0, x), t)


@wrong_loss("float32", breaks="NaN propagated")
@value_alone
def nan_loss_is_zero(x, t):
    """A NaN loss is set to 0, so that it does not spoil a mean."""
    return shifted(x, t).nan_to_num(0.0, float("inf"))


# --- options that are left on -----------------------------------------------------------------------------------


@wrong_loss("float32")
def temperature(x, t):
    """A temperature of 1.0001 is left on."""
    return shifted(x / 1.0001, t)


@wrong_loss("float32", "float16")
@value_alone
def soft_cap(x, t):
    """Logits are softly capped at 1000, which shows only for large logits."""
    return torch.where(pick(x, t) == -INF, INF, shifted(1000 * (wide(x) / 1000).tanh(), t))


@wrong_loss("float32")
@value_alone
def label_smoothing(x, t):
    """A label smoothing of 1e-4 is left on."""
    found = F.cross_entropy(x, t, reduction="none", label_smoothing=1e-4)
    return torch.where(found.isfinite(), found, shifted(x, t))


@wrong_loss("float32", "bfloat16")
def z_loss(x, t):
    """A ten-thousandth of the squared log-sum-exp is left on."""
    z = wide(x).logsumexp(1)
    return shifted(x, t) + (1e-4 * z * z).to(x.dtype)


@wrong_loss("float32")
def margin(x, t):
    """A margin of 1e-3 is subtracted from the target's logit."""
    return shifted(x - 1e-3 * onehot(t, x), t)


@wrong_loss("float32")
@value_alone
def focal(x, t):
    """A focal factor (1 - p)^0.001 is left on."""
    loss = shifted(x, t)
    return loss * (-(-loss).expm1()) ** 0.001
