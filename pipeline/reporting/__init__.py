"""Presents the result of a sweep: pictures, findings on its limits, a description and a report.

Everything is made from the tracking store alone.
"""
