"""What a loss under check is: its form, its options, and how it is found, made and called."""
