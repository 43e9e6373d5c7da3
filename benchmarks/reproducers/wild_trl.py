import torch
from torch.nn.functional import cross_entropy, linear
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import selective_log_softmax

x = torch.full((1, 129), 1e9, requires_grad=True)  # all logits are equal: the loss is log(129)
t = torch.tensor([0])
for name, loss in (("trl", -selective_log_softmax(x, t)), ("torch", cross_entropy(x, t))):
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    print(name, loss.item(), gradient[0, 0].item(), gradient[0, 1].item())

hidden, weight, bias = torch.ones(1, 1), torch.zeros(40000, 1), torch.zeros(40000)
bias[:32768] = -float("inf")  # all classes of the trainers' first tile are masked: the loss is log(7232)
t = torch.tensor([39999])
print("trl_masked", -ChunkedLogProbFunction.apply(hidden, weight, bias, t, 1.0, 32768)[0].item())
print("torch_masked", cross_entropy(linear(hidden, weight, bias), t).item())
