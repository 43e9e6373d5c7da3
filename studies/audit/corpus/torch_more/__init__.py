"""PyTorch losses for special checks: of bits, of sharded classes, and Triton kernels."""
