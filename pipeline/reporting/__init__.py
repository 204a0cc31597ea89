"""What a sweep found, for people: pictures, the argument on what limits it, a description and a report.

Everything is made from the tracking store alone.
"""
