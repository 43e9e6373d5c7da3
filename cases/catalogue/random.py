"""Seeded normal logits at scales and widths from small classifiers to language models."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "c10_s100"
SCALES = (0.1, 1.0, 10.0, 100.0, 1000.0)
# Widths that other families have too: compilers see few shapes.
ROWS_OF = {5: 8, 10: 8, 128: 8, 1000: 8, 50_257: 2}


def cases() -> Iterator[Case]:
    for classes, rows in ROWS_OF.items():
        for scale in SCALES if classes <= 1000 else SCALES[1::2]:
            # Seeded from the case itself, so that a new case changes no other. Philox is the same on every machine.
            generator = np.random.Generator(np.random.Philox(key=[classes, int(scale * 10)]))
            logits = scale * generator.standard_normal((rows, classes))
            targets = generator.integers(classes, size=rows)
            # The best and the worst class as targets, next to arbitrary ones.
            targets[0], targets[1] = logits[0].argmax(), logits[1].argmin()
            yield make(
                f"random/c{classes}_s{scale:g}",
                f"{rows} rows of {classes} normal logits of scale {scale:g}: what the extremes are held against.",
                logits,
                targets,
                tags=("seeded",),
            )
