from numpys import load

load("lib", "twodim_base", globals())
