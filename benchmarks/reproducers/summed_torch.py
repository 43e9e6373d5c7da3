import math

import torch
from torch.nn.functional import cross_entropy

ROWS = 65536
for second in (-0.5, -0.375, -1.0):
    x = torch.tensor([[0.0, second]], dtype=torch.bfloat16).repeat(ROWS, 1)
    t = torch.ones(ROWS, dtype=torch.int64)
    exact = ROWS * (math.log1p(math.exp(second)) - second)
    narrow = cross_entropy(x, t, reduction="sum")
    wide = cross_entropy(x.float(), t, reduction="sum")
    print(second, exact, narrow.item(), wide.item())
