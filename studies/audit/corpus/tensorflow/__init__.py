"""TensorFlow losses."""
