from numpys import load

load("lib", "type_check", globals())
