"""What is asked: the spec and its policy, read once into values. `request` makes them; knows no engine arithmetic and no verdicts.

`fields` is the one table between vLLM's arguments and the fields of the API, `worksheet` turns traffic into requests in flight, `disk`
says what a pod downloads and where to, `placement` which pools it may use at all.
"""
