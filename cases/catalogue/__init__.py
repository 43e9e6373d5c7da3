"""The catalogue's families: every module without a leading underscore has a function `cases()`.

A family's `QUICK` names its case in a quick run. It breaks or separates losses, and has few classes and rows.
"""
