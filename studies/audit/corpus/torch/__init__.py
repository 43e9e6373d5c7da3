"""PyTorch losses of logits: faults by kind, and sound losses."""
