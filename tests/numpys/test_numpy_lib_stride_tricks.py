from numpys import load

load("lib", "stride_tricks", globals())
