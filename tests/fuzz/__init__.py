"""Fuzz targets: everything that reads what others wrote, one function each.

A short run of each is a test; ``make fuzz`` goes on for as long as one likes.
"""
