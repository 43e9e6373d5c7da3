"""Keras's losses, on each of its backends and as TensorFlow's ``tf.keras``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ._batch import Implementation

Tensor = Any
Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class KerasLosses:
    """The losses on one backend.

    Attributes:
        module: returns ``keras.losses``; called for each loss, since the first use of ``tf.keras`` imports it.
        softmax: logits to probabilities.
        labels: logits and targets to class probabilities, one-hot for class indices.
        dtype: logits to the dtype of a loss object, which by default casts its inputs to Keras's floatx, float32; None
            for objects with the default.
    """

    module: Callable[[], Any]
    softmax: Loss
    labels: Loss
    dtype: Callable[[Tensor], str] | None = None

    # Keras calls the ignored index ignore_class.
    def sparse(self, *, from_logits: bool) -> Loss:
        def loss(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
            given = logits if from_logits else self.softmax(logits)
            function = self.module().sparse_categorical_crossentropy
            return function(targets, given, from_logits=from_logits, ignore_class=ignore_index)

        return loss

    def dense(self, *, from_logits: bool) -> Loss:
        def loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
            labels, given = self.labels(logits, targets), logits if from_logits else self.softmax(logits)
            function = self.module().categorical_crossentropy
            return function(labels, given, from_logits=from_logits, label_smoothing=label_smoothing)

        return loss

    # The objects cast logits and targets to their dtype, call the functions, and apply Keras's own reduction.
    def sparse_object(self, *, from_logits: bool) -> Loss:
        def loss(logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int | None = None) -> Tensor:
            dtype = None if self.dtype is None else self.dtype(logits)
            function = self.module().SparseCategoricalCrossentropy(
                from_logits=from_logits, ignore_class=ignore_index, reduction=reduction, dtype=dtype
            )
            return function(targets, logits if from_logits else self.softmax(logits))

        return loss

    def dense_object(self, *, from_logits: bool) -> Loss:
        def loss(logits: Tensor, targets: Tensor, *, reduction: str, label_smoothing: float = 0.0) -> Tensor:
            dtype = None if self.dtype is None else self.dtype(logits)
            function = self.module().CategoricalCrossentropy(
                from_logits=from_logits, label_smoothing=label_smoothing, reduction=reduction, dtype=dtype
            )
            return function(self.labels(logits, targets), logits if from_logits else self.softmax(logits))

        return loss

    def implementations(
        self, prefix: str, modes: tuple[str, ...] = ("eager",), plain_modes: tuple[str, ...] = ()
    ) -> Iterator[Implementation]:
        """Yield each loss from logits and from probabilities, with names that start with the prefix."""
        for name, make, dense, is_object in (
            ("sparse_categorical_crossentropy", self.sparse, False, False),
            ("categorical_crossentropy", self.dense, True, False),
            ("SparseCategoricalCrossentropy", self.sparse_object, False, True),
            ("CategoricalCrossentropy", self.dense_object, True, True),
        ):
            with_dtype = is_object and self.dtype is not None
            for options in ("[from_logits,dtype]",) if with_dtype else ("[from_logits]", ""):
                yield Implementation(
                    f"{prefix}losses.{name}{options}", "builtin", make(from_logits=bool(options)), "keras",
                    None if options else self.softmax, reduces=is_object, class_axis=-1, modes=modes,
                    # Keras documents one-hot targets for its dense losses.
                    soft=dense, normalized=dense, plain_modes=plain_modes,
                )  # fmt: skip
