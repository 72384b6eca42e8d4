"""Retrieval of documents by texts that a language model writes (SEAL)."""
