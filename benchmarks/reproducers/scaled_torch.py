import torch


def loss(x):
    return -torch.log_softmax(x / 0.7, 0)[0]


for mode, function in {"eager": loss, "compiled": torch.compile(loss)}.items():
    x = torch.tensor([4e9, 1e9, -3e9, 0.0], requires_grad=True)
    value = function(x)
    value.backward()
    print(mode, value.item(), *x.grad.tolist())
