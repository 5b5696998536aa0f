"""What train.py does before it trains: which folder, which configuration, from where."""
