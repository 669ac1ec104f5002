"""Properties that hold for any input; :mod:`tests.fuzz.profiles` sets the number of examples."""
