"""JAX losses."""
