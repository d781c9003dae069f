"""Synthetic tables: rows that are drawn, the conditions they meet, and their worth."""
