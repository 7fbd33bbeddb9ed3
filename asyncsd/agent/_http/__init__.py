"""Requests: who may send them, which endpoint they are for, and what goes wrong with them on demand."""
