"""Call the loss on presented batches, grade each result, and collect the lines of the table."""
