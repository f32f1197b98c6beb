"""Encoders trained by one method on a corpus: batches, views, monitors, and what is made of generative methods."""
