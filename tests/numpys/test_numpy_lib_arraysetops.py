from numpys import load

load("lib", "arraysetops", globals())
