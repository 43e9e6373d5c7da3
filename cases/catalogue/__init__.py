"""The catalogue's families: every module without a leading underscore has a function `cases()`.

A family's `QUICK` is the name of the case that speaks for it in a quick run: the one that breaks losses or separates
them, with few classes and few rows.
"""
