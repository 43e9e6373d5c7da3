"""The catalogue's families: every module without a leading underscore has a function `cases()`."""
