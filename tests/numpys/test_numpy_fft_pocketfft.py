from numpys import load

load("fft", "pocketfft", globals())
