"""NumPy losses, each with its gradient as a function."""
