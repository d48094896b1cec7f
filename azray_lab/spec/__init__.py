"""What is asked for: the spec's models, and how a spec is read from files, environment and flags."""
