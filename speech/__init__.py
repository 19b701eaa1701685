"""Speech from a loaded voice: loading, text splitting, decoding and vocoding."""
