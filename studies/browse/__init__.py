"""Looking things up: the catalogue, one case in every dtype, the implementations."""
