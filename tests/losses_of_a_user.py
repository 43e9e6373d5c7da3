"""The module of losses that tests write into a user's project."""

# A loss in NumPy, sound and unsound: quick to import, and enough for what pytest shows.
LOSSES = """
import numpy as np

def shifted(x, t):
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    m = wide.max(axis=1)
    s = wide - np.where(np.isfinite(m), m, 0)[:, None]
    with np.errstate(all="ignore"):
        return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), t]).astype(x.dtype)

def naive(x, t):
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return -np.log((e / e.sum(axis=1, keepdims=True))[np.arange(len(x)), t])
"""
