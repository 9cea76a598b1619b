from numpys import load

load("lib", "polynomial", globals())
