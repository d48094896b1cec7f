"""What the workers of a cluster get from the one who asks: credentials and secret variables, sealed on the way.

`environment` makes the runtime environment, `setup` opens it in each worker, `relay` gives
tokens there, `keeper` is the named actor that renews them for all.
"""
