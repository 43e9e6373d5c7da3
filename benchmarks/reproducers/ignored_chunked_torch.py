import torch
from torch.nn.functional import linear_cross_entropy

hidden, weight = torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]), torch.eye(2)
targets = torch.tensor([0, -100])
chunked = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=1)
print("plain", linear_cross_entropy(hidden, weight, targets, ignore_index=-100).item())
print("chunked", linear_cross_entropy(hidden, weight, targets, ignore_index=-100, options=chunked).item())
