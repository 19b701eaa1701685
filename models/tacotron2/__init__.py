"""Tacotron 2: network, loss, attention, free-running decoders."""
