"""What is refused before any arithmetic: what a FitPolicy leaves out, what the API server would not take, what nobody knows.

`checks.CHECKS` is their order. `caps` is asked again once a plan is found, and by whoever lets a plan grow. Knows no estimate.
"""
