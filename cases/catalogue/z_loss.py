"""A z-loss, a factor times the squared logsumexp: where the square overflows, cancels, or has no row to belong to."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "huge_offset"


def cases() -> Iterator[Case]:
    yield make(
        "z_loss/large_offset",
        "A logsumexp of 400: its square overflows float16 before the factor of 1e-4 brings it back to 16.",
        [[400.0, 399.0, 398.0], [-400.0, -402.0, -401.0]],
        [1, 2],
        z_loss=1e-4,
    )
    yield make(
        "z_loss/huge_offset",
        "A logsumexp of 1e20: its square overflows float32, and times 1e-4 it is 1e36.",
        [[1e20, 0.0, -1e20], [-1e20, -1e20, -1e20]],
        [0, 1],
        z_loss=1e-4,
    )
    yield make(
        "z_loss/normalized",
        "Logits that are log-probabilities: their logsumexp is a rounding error, which the sum of two logs has lost.",
        [[-0.6931471805599453, -1.3862943611198906, -1.3862943611198906], [-0.5, -1.5, -1.7815]],
        [0, 2],
        z_loss=16.0,
    )
    yield make(
        "z_loss/sure",
        "A logsumexp of 1e-13 beside a maximum of 0: only log1p has it, and its gradient is a share of the classes.",
        [[0.0, -30.0, -32.0], [-31.0, -30.0, 0.0]],
        [0, 1],
        z_loss=1.0,
    )
    yield make(
        "z_loss/negative",
        "A negative logsumexp: the z-loss pulls every logit up, so that the gradient of a wrong class is negative.",
        [[-20.0, -21.0, -22.5], [-35.0, -30.0, -32.0]],
        [0, 2],
        z_loss=0.0625,
    )
    yield make(
        "z_loss/masked",
        "A masked class has no share of the logsumexp and no gradient.",
        [[float("-inf"), 4.0, 2.0], [7.0, float("-inf"), float("-inf")]],
        [1, 0],
        z_loss=0.01,
    )
    yield make(
        "z_loss/capped",
        "The z-loss is that of the capped logits: of at most 30 + log 3, and not of 900.",
        [[900.0, -600.0, 700.0], [25.0, -15.0, 80.0]],
        [0, 1],
        z_loss=0.001953125,
        softcap=30.0,
    )
    yield make(
        "z_loss/ignored_mean",
        "A mean with an ignored row: its logsumexp of 300 is left out, and the divisor is 2.",
        [[3.0, -2.0, 1.0], [300.0, 299.0, 298.0], [-4.0, -6.0, -5.0]],
        [1, -100, 0],
        z_loss=0.01,
        ignore_index=-100,
        reduction="mean",
    )
    yield make(
        "z_loss/smoothed_weighted",
        "Class weights and label smoothing act on the cross-entropy, and the z-loss of a row stays as it is.",
        [[6.0, -1.0, 2.5], [-3.0, -9.0, -6.0]],
        [0, 1],
        z_loss=0.0625,
        label_smoothing=0.125,
        weight=[2.0, 0.5, 3.0],
    )
    yield make(
        "z_loss/weighted_mean",
        "A weighted mean divides the z-losses by the weights' sum too, as parts of the rows' losses.",
        [[6.0, -1.0, 2.5], [-3.0, -9.0, -6.0]],
        [0, 1],
        z_loss=0.0625,
        weight=[2.0, 0.5, 3.0],
        reduction="mean",
    )
