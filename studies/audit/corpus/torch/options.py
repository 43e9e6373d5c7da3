"""PyTorch losses that take the options of language models wrong: softcap, logit scale, z-loss."""

from __future__ import annotations

import torch

from .. import wrong_gradient, wrong_loss
from .parts import shifted, wide


def capped(x, softcap):
    return x if softcap is None else softcap * torch.tanh(x / softcap)


@wrong_loss("float32", "bfloat16", seen="huggingface/trl#5691", shown_by="softcap/scale_first")
def capped_before_scaled(x, t, *, softcap=None, logit_scale=None):
    """The scale multiplies the capped logits, outside the tanh."""
    z = capped(wide(x), softcap)
    return shifted(z if logit_scale is None else logit_scale * z, t).to(x.dtype)


@wrong_loss("float32", seen="unslothai/unsloth-zoo#593", shown_by="field_scaling/unsloth_zoo_593")
def logits_times_their_tanh(x, t, *, softcap=None):
    """The logits themselves are multiplied by tanh, so that nothing is capped."""
    return shifted(x if softcap is None else x * torch.tanh(x / softcap), t)


@wrong_loss("float32", seen="NVIDIA-NeMo/Megatron-Bridge#4645", shown_by="field_scaling/megatron_bridge_4645")
def capped_twice(x, t, *, softcap=None):
    """Both the model and the loss cap the logits."""
    return shifted(capped(capped(x, softcap), softcap), t)


@wrong_gradient("float16", "bfloat16", seen="tenstorrent/tt-metal#35885", shown_by="field_scaling/tt_metal_35885")
def slope_of_a_rounded_tanh(x, t, *, softcap=None):
    """The backward pass takes 1 - tanh^2 of a tanh that is rounded to the dtype."""
    if softcap is None:
        return shifted(wide(x), t).to(x.dtype)
    z, tanh = wide(x.detach()), torch.tanh(x.detach() / softcap)
    slope = wide(1 - tanh * tanh)
    return shifted(softcap * torch.tanh(z / softcap) + slope * (wide(x) - z).nan_to_num(), t).to(x.dtype)


@wrong_loss("float32", seen="unslothai/unsloth#11277", shown_by="field_scaling/unsloth_11277")
def scale_is_dropped(x, t, *, logit_scale=None):
    """The scale is taken and never used."""
    return shifted(x, t)


@wrong_loss("float32", seen="Adibvafa/CodonTransformer#20", shown_by="field_temperature/codontransformer_20")
def scaled_twice(x, t, *, logit_scale=None):
    """The temperature divides the logits twice."""
    return shifted(x if logit_scale is None else x * logit_scale * logit_scale, t)


@wrong_loss("float32", seen="MoonshotAI/Kimi-Audio#161", shown_by="field_temperature/kimi_audio_161")
def log_probabilities_are_scaled(x, t, *, logit_scale=None):
    """The temperature divides the log-probabilities."""
    return shifted(x, t) * (1.0 if logit_scale is None else logit_scale)


@wrong_loss("float32", seen="mlfoundations/open_lm#92", shown_by="field_scaling/open_lm_92")
def squared_mean_logsumexp(x, t, *, z_loss=0.0, reduction="none"):
    """The z-loss of a mean is the square of the mean logsumexp."""
    rows, y = shifted(x, t), x.logsumexp(1)
    if reduction == "mean":
        return rows.mean() + z_loss * y.mean() ** 2
    rows = rows + z_loss * y**2
    return rows if reduction == "none" else rows.sum()


@wrong_loss("float32", seen="allenai/OLMo#634", shown_by="field_scaling/olmo_634")
def z_loss_over_the_batch(x, t, *, z_loss=0.0, ignore_index=-100, reduction="none"):
    """The mean of the z-loss divides by the ignored rows too."""
    counts = t != ignore_index
    rows = torch.where(counts, shifted(x, torch.where(counts, t, 0)), 0.0)
    squares = torch.where(counts, z_loss * x.logsumexp(1) ** 2, 0.0)
    if reduction == "mean":
        return rows.sum() / counts.sum() + squares.mean()
    return rows + squares if reduction == "none" else (rows + squares).sum()


@wrong_loss("float32", shown_by="z_loss/capped")
def z_loss_of_uncapped_logits(x, t, *, softcap=None, z_loss=0.0):
    """The z-loss is that of the logits before the cap."""
    return shifted(capped(x, softcap), t) + z_loss * x.logsumexp(1) ** 2


@wrong_loss("float16", shown_by="z_loss/large_offset")
def square_in_the_dtype(x, t, *, z_loss=0.0):
    """The logsumexp is squared in float16 before it is multiplied by the small factor."""
    return (shifted(wide(x), t) + z_loss * wide(wide(x).logsumexp(1).to(x.dtype) ** 2)).to(x.dtype)


@wrong_gradient("float32", shown_by="z_loss/negative")
def z_loss_is_a_constant(x, t, *, z_loss=0.0):
    """The z-loss is added to the loss and is not differentiated."""
    return shifted(x, t) + z_loss * x.detach().logsumexp(1) ** 2
