"""Properties that hold for whatever arrives; :mod:`tests.fuzz.profiles` says how often they are tried."""
