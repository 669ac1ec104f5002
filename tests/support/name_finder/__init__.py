"""Finds the private and undocumented names of other packages that our code uses."""
