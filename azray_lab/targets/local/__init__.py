"""The local target: real Ray nodes as processes of this machine, on loopback addresses of their own."""
