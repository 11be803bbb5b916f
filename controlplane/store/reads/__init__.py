"""What is read of the store, by what it is about; `store/reader.py` puts it together."""
