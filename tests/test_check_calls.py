"""The kinds of call of a check: each passes a sound loss, also an unusual one, and catches a planted defect by name."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import logitlab

torch = pytest.importorskip("torch")
F = torch.nn.functional
once_differentiable = torch.autograd.function.once_differentiable

from logitlab.studies.audit.corpus.torch.parts import Mapped, differentiated_by  # noqa: E402 - after the check that PyTorch is there

CASES = ("check/width_5",)
KINDS = {
    "an empty batch", "in two threads", "int32 targets", "second derivatives", "under autocast", "under vmap and grad",
    "upstream gradients in any memory", "the same without its gradient", "right in every layout",
}  # fmt: skip


# Refused by a function of `torch.autograd` without a rule for transformations.
ONCE = {"its gradient differentiated", "under vmap", "under torch.func.grad", "under jvp", "with int32 targets"}


def checked(loss, framework="torch", dtypes="float32", **options):
    return logitlab.check(loss, framework, dtypes, **{"cases": CASES, "shrink": False} | options)


def broken(result):
    table = result.properties
    return set(table.loc[~table["held"], "property"])


def refused(result):
    lines = result.lines
    return set(lines.loc[lines["verdict"] == "refused", "how"])


# --- sound losses -----------------------------------------------------------------------------------------------


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def by_sums(x, t):
    s = x - x.amax(1, keepdim=True).detach()
    return s.exp().sum(1).log() - s.gather(1, t[:, None].long())[:, 0]


def checkpointed_chunks(x, t):
    parts = [
        torch.utils.checkpoint.checkpoint(by_sums, a, b, use_reentrant=False)
        for a, b in zip(x.split(8), t.split(8), strict=True)
    ]
    return torch.cat(parts)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        p = x.softmax(1)
        ctx.save_for_backward(p - F.one_hot(t, x.shape[1]))
        return sound(x, t)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream[:, None], None


def once(x, t):
    return _Once.apply(x, t)


class _Refusing(_Once):
    @staticmethod
    def backward(ctx, upstream):
        if torch.is_grad_enabled():
            raise NotImplementedError("second derivatives of this loss")
        return ctx.saved_tensors[0] * upstream[:, None], None


def refusing(x, t):
    return _Refusing.apply(x, t)


def log_add_exp_tree(x, t):
    """Its gradient is NaN where two classes are masked, in every call."""
    x = x - x.amax(1, keepdim=True).detach()
    parts = list(x.unbind(1))
    while len(parts) > 1:
        pairs = list(zip(parts[::2], parts[1::2], strict=False))
        parts = [torch.logaddexp(a, b) for a, b in pairs] + parts[2 * len(pairs) :]
    return parts[0] - x.gather(1, t[:, None].long())[:, 0]


def mapped_inside(x, t):
    s = x - x.amax(1, keepdim=True).detach()
    return torch.func.vmap(lambda row, target: row.logsumexp(0) - row.take_along_dim(target[None].long(), 0)[0])(s, t)


def by_a_product(x, t):
    """The target is picked by a product of matrices, which autocast rounds to bfloat16."""
    hot = F.one_hot(t.long(), x.shape[1]).to(x.dtype)
    picked = torch.bmm(hot[:, None], torch.where(hot == 1, x, 0)[:, :, None])[:, 0, 0]
    return x.logsumexp(1) - picked


def no_empty_batch(x, t):
    if len(x) == 0:
        raise ValueError("an empty batch has no loss")
    return sound(x, t)


@pytest.mark.parametrize(
    ("loss", "refuses"),
    [
        (sound, {"with int32 targets"}),
        (by_sums, set()),
        (checkpointed_chunks, {"under torch.func.grad", "under vmap"}),
        (once, ONCE),
        (refusing, ONCE),
        (mapped_inside, set()),
        (no_empty_batch, {"on an empty batch", "with int32 targets"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_sound_loss_passes_and_may_refuse_in_words(loss, refuses):
    result = checked(loss)
    assert result.passed, str(result)
    assert refused(result) == refuses
    for name in ("in two threads", "under autocast", "second derivatives", "an empty batch", "int32 targets"):
        assert result.properties.set_index("property").loc[name, "rows"] > 0, name


def test_a_product_of_matrices_may_be_rounded_under_autocast():
    # A masked class makes the gradient of the product NaN; the case has none.
    result = checked(by_a_product, cases="check/gaps_2")
    assert "under autocast" not in broken(result)


def test_a_defect_of_every_call_breaks_no_kind_of_call():
    result = checked(log_add_exp_tree)
    assert "masks" in broken(result)
    assert not broken(result) & KINDS, str(result)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_loss_passes():
    assert checked(torch.compile(by_sums, backend="aot_eager")).passed


def test_a_refusal_is_shown_as_a_note():
    shown = str(checked(sound))
    assert "int32 targets: refused (RuntimeError: expected target dtype to be Long or Byte, but got Int)" in shown


def test_a_refusal_is_shown_among_the_properties_of_a_loss_that_fails():
    result = checked(lambda x, t: sound(x, t) * 1.01)
    assert "int32 targets                      refused" in str(result)


def test_the_new_calls_have_no_grade():
    lines = checked(by_sums).lines
    alone = lines["how"].isin(["its gradient differentiated", "under autocast", "on an empty batch"])
    assert alone.any()
    assert lines.loc[alone, "grade"].isna().all()


# --- planted defects --------------------------------------------------------------------------------------------


def half_of_the_targets(x, t):
    return sound(x, (t // 2 if t.dtype == torch.int32 else t).long())


def reads_the_storage(x, t):
    return sound(x, torch.empty(0, dtype=t.dtype).set_(t.untyped_storage(), 0, t.shape, t.stride()))


def logits_from_the_start_of_their_memory(x, t):
    if x.is_contiguous() and x.storage_offset():
        x = x + (x.detach().as_strided(x.shape, x.stride(), 0) - x.detach())
    return sound(x, t)


def offset_beside_strides(x, t):
    """Either is handled alone."""
    if t.storage_offset() and x.stride(1) != 1:
        t = t.roll(1)
    return sound(x, t)


class _Upstream(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t, read):
        ctx.save_for_backward(x, t)
        ctx.read = read
        return sound(x, t)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return (x.softmax(1) - F.one_hot(t, x.shape[1])) * ctx.read(upstream)[:, None], None, None


def stride_of_the_upstream(x, t):
    return _Upstream.apply(x, t, lambda u: u if u.stride() == (0,) else u.as_strided(u.shape, (1,)))


def mean_over_nothing(x, t):
    return sound(x, t) if len(x) else sound(x, t).mean()


def inference_in_half(x, t):
    return sound(x.half().to(x.dtype) if torch.is_inference_mode_enabled() else x, t)


def autocast_in_eight_bits(x, t):
    if torch.is_autocast_enabled("cpu"):
        x = x.nan_to_num(neginf=-100.0).to(torch.float8_e5m2).to(x.dtype)
    return sound(x, t)


def autocast_gradient(x, t):
    return sound(x.detach() + x * 0 if torch.is_autocast_enabled("cpu") else x, t)


def reads_a_global_when_mapped(x, t):
    return sound(x, t) + (0.25 if torch._C._functorch.is_batchedtensor(x) else 0.0)


class _Unfolded(Mapped):
    """The batching rule folds the mapped axis into the rows, and unfolds it in the wrong order."""

    @staticmethod
    def vmap(info, in_dims, x, t):
        size, rows, classes = x.shape
        found = _Unfolded.apply(x.reshape(size * rows, classes), t.reshape(size * rows))
        return found.reshape(rows, size), 1


def unfolded_in_the_wrong_order(x, t):
    return _Unfolded.apply(x, t)


def detached_when_mapped(x, t):
    tracked = torch._C._functorch.is_gradtrackingtensor(x)
    return sound(x.detach() if tracked else x, t)


@differentiated_by
def detached_in_backward(x, t, upstream):
    return (x.detach().softmax(1) - F.one_hot(t, x.shape[1])) * upstream[:, None]


def no_graph_at_all(x, t):
    """The gradient hangs on a hook, which sees numbers alone."""
    rows = sound(x.detach(), t)
    p = x.detach().softmax(1) - F.one_hot(t, x.shape[1])
    return rows + (p * (x - x.detach())).nan_to_num().sum(1) * 1.0


_shared = {}


def one_buffer_for_all_threads(x, t):
    _shared["x"] = x
    time.sleep(1e-4)
    return sound(_shared["x"], t)


def one_workspace_for_all_threads(x, t):
    """The results differ from call to call, as with real threads."""
    _shared["work"] = x.detach()
    time.sleep(1e-4 if torch.rand(()) < 0.5 else 0)
    return sound(x + (_shared["work"] - x.detach()).nan_to_num(), t)


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (half_of_the_targets, {"int32 targets"}),
        (reads_the_storage, {"right in every layout"}),
        (logits_from_the_start_of_their_memory, {"right in every layout"}),
        (offset_beside_strides, {"right in every layout"}),
        (stride_of_the_upstream, {"upstream gradients in any memory"}),
        (mean_over_nothing, {"an empty batch"}),
        (inference_in_half, {"the same without its gradient"}),
        (autocast_in_eight_bits, {"under autocast"}),
        (autocast_gradient, {"under autocast"}),
        (reads_a_global_when_mapped, {"under vmap and grad"}),
        (unfolded_in_the_wrong_order, {"under vmap and grad"}),
        (detached_when_mapped, {"under vmap and grad"}),
        (detached_in_backward, {"second derivatives"}),
        (one_buffer_for_all_threads, {"in two threads"}),
        (one_workspace_for_all_threads, {"in two threads"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_defect_breaks_its_property_alone(loss, names):
    result = checked(loss)
    assert not result.passed
    assert broken(result) == names, str(result)


def test_a_gradient_that_is_linear_in_the_logits_has_a_wrong_second_derivative():
    assert "second derivatives" in broken(checked(no_graph_at_all))


# --- programs ---------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_program_is_printed_for_each_kind():
    script = checked(detached_in_backward, shrink=True).script
    assert "broken: second derivatives" in script
    assert "create_graph=True" in script
    script = checked(mean_over_nothing, shrink=True).script
    assert "[:0]" in script
    assert "exact:', [0]" in script


# --- NumPy, JAX, TensorFlow -------------------------------------------------------------------------------------


def in_numpy(x, t):
    s = x - x.max(1, keepdims=True)
    return np.log(np.exp(s).sum(1)) - np.take_along_axis(s, t[:, None], 1)[:, 0]


def in_numpy_with_a_buffer(x, t):
    _shared["numpy"] = x
    time.sleep(1e-4)
    return in_numpy(_shared["numpy"], t)


def no_rows_in_numpy(x, t):
    return in_numpy(x, t) if len(x) else np.zeros((1,), x.dtype)


def shifted_int32_in_numpy(x, t):
    return in_numpy(x, t if t.dtype == np.int64 else (t + 1) % x.shape[1])


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (in_numpy, set()),
        (in_numpy_with_a_buffer, {"in two threads"}),
        (no_rows_in_numpy, {"an empty batch"}),
        (shifted_int32_in_numpy, {"int32 targets"}),
    ],
)
def test_numpy_gets_the_calls_that_it_can_make(loss, names):
    result = checked(loss, "numpy")
    assert broken(result) == names, str(result)


def test_threads_are_stopped_by_the_first_error():
    here = threading.get_ident()

    def main_thread_only(x, t):
        if threading.get_ident() != here:
            raise RuntimeError("call it in the main thread")
        return in_numpy(x, t)

    result = checked(main_thread_only, "numpy")
    assert broken(result) == {"in two threads"}
    assert "call it in the main thread" in str(result)


def jax_losses():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def right(x, t):
        s = x - jax.lax.stop_gradient(x.max(axis=1, keepdims=True))
        return jnp.log(jnp.exp(s).sum(axis=1)) - jnp.take_along_axis(s, t[:, None], axis=1)[:, 0]

    @jax.custom_jvp
    def wrong_tangent(x, t):
        return right(x, t)

    @wrong_tangent.defjvp
    def _(primals, tangents):
        x, t = primals
        slope = jax.nn.softmax(jax.lax.stop_gradient(x), axis=1) - jax.nn.one_hot(t, x.shape[1], dtype=x.dtype)
        return right(x, t), (slope * tangents[0]).sum(axis=1)

    def by_vjp(x, t):
        return right(x, t), (x, t)

    def backward(saved, upstream):
        x, t = saved
        return (jax.nn.softmax(x, axis=1) - jax.nn.one_hot(t, x.shape[1], dtype=x.dtype)) * upstream[:, None], None

    custom = jax.custom_vjp(right)
    custom.defvjp(by_vjp, backward)

    mapped = jax.custom_batching.custom_vmap(right)

    @mapped.def_vmap
    def _(axis_size, in_batched, x, t):
        return jax.vmap(right)(x, (t + 1) % x.shape[2]), True

    wrongly_mapped = jax.custom_vjp(mapped)
    wrongly_mapped.defvjp(lambda x, t: (mapped(x, t), (x, t)), backward)
    return {"right": right, "wrong_tangent": wrong_tangent, "custom": custom, "mapped": wrongly_mapped}


@pytest.mark.parametrize(
    ("name", "names"),
    [
        pytest.param("right", set(), marks=pytest.mark.full),  # a smaller one is in test_check.py
        pytest.param("custom", set(), marks=pytest.mark.full),
        pytest.param("wrong_tangent", {"second derivatives"}, marks=pytest.mark.full),
        pytest.param("mapped", {"under vmap and grad"}, marks=pytest.mark.full),
    ],
)
def test_jax(name, names):
    result = checked(jax_losses()[name], "jax")
    assert broken(result) == names, str(result)
    assert ("under jvp" in refused(result)) == (name in ("custom", "mapped"))


@pytest.mark.full
def test_tensorflow():
    tf = pytest.importorskip("tensorflow")

    def right(x, t):
        s = x - tf.stop_gradient(tf.reduce_max(x, axis=1, keepdims=True))
        return tf.math.log(tf.reduce_sum(tf.exp(s), axis=1)) - tf.gather(s, t, axis=1, batch_dims=1)

    @tf.custom_gradient
    def constant_gradient(x, t):
        slope = tf.stop_gradient(tf.nn.softmax(x) - tf.one_hot(t, tf.shape(x)[1], dtype=x.dtype))
        return right(x, t), lambda upstream: (slope * upstream[:, None], None)

    assert broken(checked(right, "tensorflow")) == set()
    # TensorFlow's softmax loses NaN, which no kind of call changes.
    assert broken(checked(constant_gradient, "tensorflow")) & KINDS == {"second derivatives"}
