import torch
import torch.nn.functional as F

hidden, weight = torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]), torch.eye(2)
targets = torch.tensor([0, -100])
chunked = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=1)
print("plain", F.linear_cross_entropy(hidden, weight, targets, ignore_index=-100).item())
print("chunked", F.linear_cross_entropy(hidden, weight, targets, ignore_index=-100, options=chunked).item())
