from numpys import load

load("fft", "helper", globals())
