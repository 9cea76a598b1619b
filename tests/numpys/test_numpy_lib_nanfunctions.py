from numpys import load

load("lib", "nanfunctions", globals())
