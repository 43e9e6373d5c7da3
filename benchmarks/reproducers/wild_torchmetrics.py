import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.text import perplexity

x = torch.zeros(1, 100, 2)  # 100 tokens of two equal logits, but for one token with a loss of 200
x[0, 0, 1] = 200.0
t = torch.zeros(1, 100, dtype=torch.int64)
print("torchmetrics", perplexity(x, t).item())
print("torch", cross_entropy(x[0], t[0]).exp().item())
