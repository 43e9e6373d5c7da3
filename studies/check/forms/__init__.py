"""The loss under check: its form, its options, and how it is found, made and called."""
