import torch
from torch.nn.functional import cross_entropy
from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy

x, t = torch.tensor([[0.0, 1e40]], dtype=torch.float64), torch.tensor([1])  # the loss is 0
print("transformers_float64", ForCausalLMLoss(x, None, 2, shift_labels=t).item())
print("torch_float64", cross_entropy(x, t).item())

x, t = torch.tensor([[2.0, 1.0, 0.1], [3.0, 2.0, 1.0]]), torch.tensor([0, 1])
options = {"label_smoothing": 0.5, "reduction": "sum"}
print("transformers_options", fixed_cross_entropy(x, t, **options).item())
print("torch_options", cross_entropy(x, t, **options).item())
print("torch_no_options", cross_entropy(x, t).item())
