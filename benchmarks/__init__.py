"""Timings of what the README promises; kept apart from the tests, which state facts and never time
anything.
"""
