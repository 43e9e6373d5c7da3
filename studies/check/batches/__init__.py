"""The batches that a check presents to a loss: rows, their order, neighbours, memory, and kinds of call."""
