"""PyTorch losses of hidden states and a weight."""
