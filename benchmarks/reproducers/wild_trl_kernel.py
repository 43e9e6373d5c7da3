import os

os.environ["TRITON_INTERPRET"] = "1"
import torch
from torch.nn.functional import cross_entropy
from trl.kernels import selective_log_softmax_and_entropy

x = torch.zeros(1, 2048)
x[:, :1024] = -float("inf")  # all classes of the kernel's first block are masked: the loss is log(1024)
t = torch.tensor([2047])
print("trl_masked", -selective_log_softmax_and_entropy(x, t)[0].item())
print("torch_masked", cross_entropy(x, t).item())

x = torch.tensor([[2.0, 1.0, 0.1], [3.0, 2.0, 1.0]]).T.contiguous().T  # stored by columns
t = torch.tensor([0, 1])
print("trl_transposed", *(-selective_log_softmax_and_entropy(x, t)[0]).tolist())
print("torch_transposed", *cross_entropy(x, t, reduction="none").tolist())
