"""What a pretrained encoder is worth: arms at every label fraction, their evaluation and the verdict."""
