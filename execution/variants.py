"""Variants of a mode: settings that change numbers, each run in a separate worker beside the plain mode.

``eager+one-thread`` is the mode ``eager`` in a process that is set to one thread before it imports its framework.
A mode may set variables too, as ``interpreted`` does, with a variant or without.

A variant of simulated arithmetic is a list of settings, such as ``eager+stochastic-4,seed-7``; see `core.arithmetic`.
It sets no variable, so all of them share a worker, and each call has the settings in its mode.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core import arithmetic, interpreting
from ..core.errors import UsageError

MARK = "+"
XLA = ("jax", "keras-jax")
TORCH = ("torch", "keras-torch")
# The frameworks whose variants are arithmetics.
ARITHMETIC = ("simulated",)


@dataclass(frozen=True)
class Variant:
    """A variant and the frameworks and modes that it applies to.

    Attributes:
        effect: its effect in a few words.
        variables: environment variables for each framework that it applies to.
        modes: the modes that it can change; None for all.
    """

    effect: str
    variables: Mapping[str, Mapping[str, str]]
    modes: tuple[str, ...] | None = None


def _each(frameworks: Sequence[str], **variables: str) -> dict[str, dict[str, str]]:
    return dict.fromkeys(frameworks, variables)


VARIANTS: Mapping[str, Variant] = {
    "onednn-off": Variant(
        "TensorFlow without oneDNN's kernels", _each(["tensorflow"], TF_ENABLE_ONEDNN_OPTS="0"), ("eager", "graph")
    ),
    "fast-math": Variant(
        "XLA may reorder, and take NaN and infinity for absent",
        _each(
            [*XLA, "tensorflow"],
            XLA_FLAGS="--xla_cpu_enable_fast_math=true --xla_cpu_fast_math_honor_infs=false "
            "--xla_cpu_fast_math_honor_nans=false --xla_cpu_fast_math_honor_division=false "
            "--xla_cpu_fast_math_honor_functions=false",
        ),
    ),
    "flush-subnormals": Variant(
        "PyTorch's CPU kernels treat subnormal numbers as zero", _each(TORCH, LOGITLAB_FLUSH_SUBNORMALS="1")
    ),
    "one-thread": Variant(
        "sums are not divided among threads",
        _each(TORCH, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        | _each(["tensorflow"], TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
        | _each(XLA, XLA_FLAGS="--xla_cpu_multi_thread_eigen=false", NPROC="1"),
    ),
    "matmul-low": Variant(
        "products of float32 matrices may be rounded to bfloat16 or TF32",
        _each(TORCH, LOGITLAB_MATMUL_PRECISION="medium") | _each(XLA, JAX_DEFAULT_MATMUL_PRECISION="bfloat16"),
    ),
    "4-shards": Variant(
        "the classes are divided over 4 processes or devices, not 2",
        _each(["torch", "jax"], LOGITLAB_SHARDS="4"),
        ("sharded",),
    ),
}
# The environment variables that a mode needs, by mode and framework. JAX has one device on a CPU unless a flag
# says otherwise before it is imported.
OF_MODES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    interpreting.INTERPRETED: _each(TORCH, **interpreting.VARIABLES),
    "sharded": _each(["jax"], XLA_FLAGS="--xla_force_host_platform_device_count=4"),
}
# They would change what another mode measures, so no other worker has them.
OF_ONE_MODE = frozenset(interpreting.VARIABLES)


def choose_variants(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the requested variants, none by default; ``all`` stands for all of `VARIANTS`.

    A range of arithmetics gives one variant for each number: ``stochastic-4,seed-0..99`` gives 100.

    Raises:
        UsageError: for an unknown name or setting.
    """
    asked = [name for word in wanted or () for name in (VARIANTS if word == "all" else _named(word))]
    return tuple(dict.fromkeys(asked))


def _named(word: str) -> Sequence[str]:
    if word in VARIANTS:
        return [word]
    if arithmetic.is_arithmetic(word):
        # The default settings are those of the mode itself.
        return [name for name in arithmetic.expand(word) if name != arithmetic.DEFAULT]
    known = ", ".join(f"{other} ({variant.effect})" for other, variant in VARIANTS.items())
    raise UsageError(
        f"unknown variant {word!r}; choose from {known}, or all, or, for the framework simulated, from its settings, "
        f"joined by commas: {arithmetic.KNOWN}"
    )


def modes_of(framework: str, mode: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the mode and those of its chosen variants that apply to the framework."""
    return (mode, *(f"{mode}{MARK}{name}" for name in chosen if _applies(name, framework, mode)))


def _applies(name: str, framework: str, mode: str) -> bool:
    variant = VARIANTS.get(name)
    if variant is None:
        return framework in ARITHMETIC
    return framework in variant.variables and mode in (variant.modes or (mode,))


def base(mode: str) -> str:
    """Return the mode without its variant."""
    return mode.partition(MARK)[0]


def of_call(framework: str, mode: str) -> str:
    """Return the mode as a call has it: with the variant if that is an arithmetic, since no variable has it."""
    return mode if framework in ARITHMETIC else base(mode)


def variables(framework: str, mode: str) -> Mapping[str, str]:
    """Return the environment variables of the mode's worker."""
    plain, _, name = mode.partition(MARK)
    of_mode = OF_MODES.get(plain, {}).get(framework, {})
    of_variant = VARIANTS[name].variables[framework] if name in VARIANTS else {}
    both = {n: f"{of_mode[n]} {of_variant[n]}" for n in of_mode.keys() & of_variant.keys() if n.endswith("_FLAGS")}
    return {**of_mode, **of_variant, **both}
