"""The basis: formats, errors, files, constants. Every room may import it; it imports no other room."""
